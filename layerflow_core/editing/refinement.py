"""Edges refined: thresholds, choke, feather, fringe, spill.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FrameError
from ..matching import match_matte

_SIGMAS = 3  # a Gaussian's reach
_FARTHEST = 1000  # pixels
SPILLS = {"none": None, "green": 1, "blue": 2}


@dataclass(frozen=True)
class Refinement:
    """How an alpha and the colour at its edge are refined, in this order.

    Args:
        low, high: what becomes fully transparent and fully opaque.
        choke: pixels the edge moves inwards; negative outwards.
        feather: standard deviation in pixels of a blur of the edge.
        fringe: radius in pixels within which edge colours are estimated again from what is opaque; 0 leaves them.
        spill: key of ``SPILLS``, the screen's colour to be taken out.

    Raises:
        FrameError: a value is out of range.
    """

    low: float = 0.0
    high: float = 1.0
    choke: float = 0.0
    feather: float = 0.0
    fringe: float = 0.0
    spill: str = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise FrameError(
                f"got alpha from {self.low} to {self.high}, expected 0 <= low < high <= 1"
            )
        fits = (
            abs(self.choke) <= _FARTHEST
            and 0 <= self.feather <= _FARTHEST
            and 0 <= self.fringe <= _FARTHEST
        )
        if not fits or self.spill not in SPILLS:
            raise FrameError(
                f"got {self}, expected choke of {-_FARTHEST} to {_FARTHEST}, feather and fringe of 0 and more, "
                f"{_FARTHEST} at most, spill one of {', '.join(SPILLS)}"
            )


def refine(colour: Tensor, alpha: Tensor, how: Refinement) -> tuple[Tensor, Tensor]:
    """Refine a straight layer [N, 3, H, W] with its alpha [N, 1, H, W]; raises FrameError if they do not fit."""
    colour, alpha = match_matte(colour, alpha)
    seen = alpha
    if (how.low, how.high) != (0, 1):
        alpha = ((alpha - how.low) / (how.high - how.low)).clamp(0, 1)
    alpha = blur(choke(alpha, how.choke), how.feather)
    if how.fringe:
        colour = estimate_foreground(colour, seen, how.fringe)
    return despill(colour, SPILLS[how.spill]), alpha


def choke(alpha: Tensor, pixels: float) -> Tensor:
    """Move an edge inwards by N pixels, outwards by negative ones.

    The fraction mixes the two whole neighbours.
    """
    outwards = -1 if pixels > 0 else 1
    whole, part = divmod(abs(pixels), 1)
    near = dilate(alpha, outwards * int(whole))
    if not part:
        return near
    return torch.lerp(near, dilate(alpha, outwards * (int(whole) + 1)), part)


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """Widen a mask or an alpha [N, 1, H, W] by N whole pixels to all sides, narrow it by as many if negative."""
    if pixels == 0:
        return mask
    radius = abs(pixels)
    sign = 1 if pixels > 0 else -1
    return sign * F.max_pool2d(sign * mask, 2 * radius + 1, 1, radius)


def blur(pixels: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [N, C, H, W], edges continued; sigma in pixels."""
    if sigma <= 0:
        return pixels
    radius = max(1, math.ceil(_SIGMAS * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).to(pixels) / sigma) ** 2)
    weights = weights / weights.sum()
    pixels = _convolve(pixels, weights.view(1, 1, -1, 1), (0, 0, radius, radius))
    return _convolve(pixels, weights.view(1, 1, 1, -1), (radius, radius, 0, 0))


def _convolve(pixels: Tensor, weights: Tensor, borders: tuple[int, int, int, int]) -> Tensor:
    """Every channel with the same weights [1, 1, H, W]; edges are continued by the borders."""
    channels = pixels.shape[1]
    kernel = weights.expand(channels, -1, -1, -1).contiguous()
    return F.conv2d(F.pad(pixels, borders, mode="replicate"), kernel, groups=channels)


def estimate_foreground(image: Tensor, alpha: Tensor, radius: float) -> Tensor:
    """Colour of a foreground without what shines through its edge: blur fusion, run twice (arXiv 2006.14970).

    Args:
        image: [N, 3, H, W], footage or a layer whose edge carries a fringe.
        alpha: [N, 1, H, W] of the foreground in it.
        radius: pixels around that are looked at; the second run looks at a tenth.

    Returns:
        [N, 3, H, W], the image itself where alpha is 1.
    """
    foreground = background = image
    for sigma in (radius / 2, max(0.5, radius / 20)):
        share = blur(alpha, sigma)
        foreground = blur(foreground * alpha, sigma) / share.clamp(min=1e-5)
        background = blur(background * (1 - alpha), sigma) / (1 - share).clamp(min=1e-5)
        unexplained = image - alpha * foreground - (1 - alpha) * background
        foreground = (foreground + alpha * unexplained).clamp(0, 1)
    return torch.where(alpha < 1, foreground, image)


def despill(colour: Tensor, channel: int | None) -> Tensor:
    """A screen's channel cut down to the larger of the other two."""
    if channel is None:
        return colour
    others = [c for c in range(3) if c != channel]
    changed = colour.clone()
    changed[:, channel] = torch.minimum(colour[:, channel], colour[:, others].amax(1))
    return changed
