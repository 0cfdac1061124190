"""Pixels as files hold them: colour straight or premultiplied, a residual around mid grey.

Legend: N frames, C channels, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..layers import Foreground
from ..rgba import premultiply
from ..video.streams.encodings import with_alpha

STRAIGHT, PREMULTIPLIED = ALPHA_KINDS = ("straight", "premultiplied")

_MIDDLE = 0.5
AS_IT_IS = "as it is"
BIASED = f"{_MIDDLE} + {_MIDDLE} * value"
"""How values of a residual, -1..1, are stored."""


def foreground_frames(layer: Foreground, alpha_kind: str) -> Iterator[Tensor]:
    """Frame after frame [4, H, W] of a layer.

    Args:
        alpha_kind: key of ``ALPHA_KINDS``.
    """
    for frame in with_alpha(layer.colour, layer.opacity):
        if alpha_kind == PREMULTIPLIED:
            frame = torch.cat([premultiply(frame[:3], frame[3:]), frame[3:]])
        yield frame


def bias(residual: Tensor) -> Tensor:
    """-1..1 to 0..1, 0 to mid grey."""
    return _MIDDLE + _MIDDLE * residual


def unbias(stored: Tensor) -> Tensor:
    """The inverse of ``bias``."""
    return (stored - _MIDDLE) / _MIDDLE
