"""Foregrounds over plain grounds: what is wrong with an alpha shows on some of them.

Nine grounds and their use are AlphaVAE's (``validation_pipeline/scripts/i2i_eval_pipe.py``), which composites truth and
result over each and compares these.

Legend: N frames, H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..layers import Foreground
from ..rgba import over
from .fidelity import frame_psnr, frame_ssim
from .sample import Sample

GROUNDS: Mapping[str, tuple[float, float, float]] = {
    "grey": (128 / 255, 128 / 255, 128 / 255),
    "black": (0, 0, 0),
    "white": (1, 1, 1),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "cyan": (0, 1, 1),
    "magenta": (1, 0, 1),
}
"""R, G and B."""


def composite(layer: Foreground, ground: tuple[float, float, float]) -> Tensor:
    """A foreground over a plain colour, [N, 3, H, W]."""
    colour = torch.tensor(ground).view(1, 3, 1, 1)
    return over(layer.colour, layer.opacity, colour)


def grounds_psnr(sample: Sample) -> float:
    """Of composites against true composites, dB: mean over grounds, and over foregrounds."""
    return _mean(sample, frame_psnr)


def grounds_ssim(sample: Sample) -> float:
    """As ``grounds_psnr``, -1..1."""
    return _mean(sample, frame_ssim)


def _mean(sample: Sample, measure: Callable[[Tensor, Tensor], float]) -> float:
    values = []
    for made, true in sample.pairs():
        for ground in GROUNDS.values():
            values.append(measure(composite(made, ground), composite(true, ground)))
    return sum(values) / len(values)
