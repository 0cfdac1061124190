"""Layers against true ones; a value of a sample of several foregrounds is the mean over these.

Legend: N frames, H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..errors import EvaluationError
from ..matching import describe
from .fidelity import frame_psnr, frame_ssim, mean_error, mean_over_frames, mean_squared_error
from .matte import THOUSANDTHS
from .sample import Sample

WHOLE, HIDDEN, VISIBLE = "whole", "hidden", "visible"


def of_alpha(measure: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Sample], float]:
    """A measure of ``matte``, averaged over frames and foregrounds."""

    def mean(sample: Sample) -> float:
        values = [measure(made.opacity, true.opacity).mean() for made, true in sample.pairs()]
        return float(sum(values) / len(values))

    return mean


def foreground_mad(sample: Sample) -> float:
    """Mean absolute error of straight colour where the true alpha is above 0, in thousandths."""
    return _of_colour(sample, mean_error) * THOUSANDTHS


def foreground_mse(sample: Sample) -> float:
    """Mean squared error of straight colour where the true alpha is above 0, in thousandths."""
    return _of_colour(sample, mean_squared_error) * THOUSANDTHS


def _of_colour(sample: Sample, measure: Callable[..., float]) -> float:
    values = []
    for made, true in sample.pairs():
        values.append(mean_over_frames(measure, made.colour, true.colour, true.opacity > 0))
    return sum(values) / len(values)


def background_psnr(sample: Sample, region: str = WHOLE) -> float:
    """dB.

    Args:
        region: hidden by the true foregrounds, where a model must invent; visible, where it need only keep; or whole.
    """
    return frame_psnr(sample.background, sample.true_background, _region(sample, region))


def background_ssim(sample: Sample, region: str = WHOLE) -> float:
    """-1..1; arguments as ``background_psnr``."""
    return frame_ssim(sample.background, sample.true_background, _region(sample, region))


def background_lpips(sample: Sample, region: str = WHOLE) -> float:
    """Mean of the map of distances; arguments as ``background_psnr``."""
    made = sample.background
    true = sample.true_background
    where = _region(sample, region)
    distance = sample.networks.lpips
    if min(made.shape[2:]) < distance.smallest:
        raise EvaluationError(
            f"LPIPS: got {describe(made)}, expected sides of {distance.smallest} pixels or more"
        )

    def mean_distance(a: Tensor, b: Tensor, inside: Tensor | None) -> float:
        values = distance.map(a, b)
        return float(values.mean() if inside is None else values[inside].mean())

    return mean_over_frames(mean_distance, made, true, where)


def _region(sample: Sample, region: str) -> Tensor | None:
    if region == WHOLE:
        return None
    return sample.hidden if region == HIDDEN else ~sample.hidden
