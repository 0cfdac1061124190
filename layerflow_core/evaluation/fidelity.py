"""How near pixels are to others: mean errors, PSNR and SSIM, everywhere or within a region.

Legend: N frames, C channels, H height, W width; 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError

LEAST_ERROR = 1e-10
"""Mean squared error that counts as none: 100 dB."""
SSIM_WINDOW = 11
_REACH = SSIM_WINDOW // 2
_SSIM_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def mean_error(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Mean absolute difference of two clips [N, C, H, W].

    Args:
        where: [N, 1, H, W] bool, the pixels that count; None for all.
    """
    return float(_restrict((a - b).abs(), where).mean())


def mean_squared_error(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Mean squared difference; arguments as ``mean_error``."""
    return float(_restrict((a - b).square(), where).mean())


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Peak signal to noise ratio over all pixels at once, dB, 100 at most; arguments as ``mean_error``."""
    return decibels(mean_squared_error(a, b, where))


def decibels(squared_error: float) -> float:
    """20 log10(1 / sqrt(MSE)) of values in 0..1."""
    return -10 * math.log10(max(squared_error, LEAST_ERROR))


def frame_psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Mean over frames of each frame's PSNR, dB, as papers report it (CMVQ ``calculate_psnr.py``).

    Frames of which nothing is in the region do not count; raises EvaluationError if that is all of them.
    """
    return mean_over_frames(psnr, a, b, where)


def frame_ssim(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Mean over frames of each frame's SSIM, -1..1 (Wang et al. 2004; CMVQ ``calculate_ssim.py``).

    Args:
        where: as ``mean_error``; windows count that are centred in it.

    Raises:
        EvaluationError: an image smaller than the window, or a region without a whole one.
    """
    if where is not None:
        inside = torch.zeros_like(where)
        inside[..., _REACH:-_REACH, _REACH:-_REACH] = where[..., _REACH:-_REACH, _REACH:-_REACH]
        where = inside
    return mean_over_frames(_ssim, a, b, where)


def mean_over_frames(
    measure: Callable[[Tensor, Tensor, Tensor | None], float],
    a: Tensor,
    b: Tensor,
    where: Tensor | None = None,
) -> float:
    """Mean of a measure of [1, C, H, W], in float64, over the frames that the region reaches."""
    values = []
    for number in range(len(a)):
        frame = slice(number, number + 1)
        region = None if where is None else where[frame]
        if region is not None and not region.any():
            continue
        values.append(measure(a[frame].double(), b[frame].double(), region))
    if not values:
        raise EvaluationError("nothing is in the region that is measured")
    return sum(values) / len(values)


def _ssim(a: Tensor, b: Tensor, where: Tensor | None) -> float:
    similarity = ssim_map(a, b)
    if where is None:
        return float(similarity.mean())
    return float(_restrict(similarity, where[..., _REACH:-_REACH, _REACH:-_REACH]).mean())


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Similarity of every whole window of 11 x 11, Gaussian of sigma 1.5, channel by channel.

    Returns:
        [N, C, H - 10, W - 10].

    Raises:
        EvaluationError: an image smaller than the window.
    """
    if min(a.shape[2:]) < SSIM_WINDOW:
        raise EvaluationError(
            f"SSIM: got {a.shape[3]} x {a.shape[2]} pixels, expected {SSIM_WINDOW} x {SSIM_WINDOW} or more"
        )
    mean_a = _blur(a)
    mean_b = _blur(b)
    variance_a = _blur(a * a) - mean_a.square()
    variance_b = _blur(b * b) - mean_b.square()
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a.square() + mean_b.square() + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return luminance * structure


def _blur(pixels: Tensor) -> Tensor:
    """Whole windows only, so 5 pixels are lost on each side."""
    channels = pixels.shape[1]
    taps = _gaussian().to(pixels)
    across = taps.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
    down = taps.view(1, 1, -1, 1).expand(channels, -1, -1, -1)
    return F.conv2d(F.conv2d(pixels, across, groups=channels), down, groups=channels)


@cache
def _gaussian() -> Tensor:
    """[11], sums to 1."""
    places = torch.arange(SSIM_WINDOW, dtype=torch.float64) - _REACH
    weights = torch.exp(-places.square() / (2 * _SSIM_SIGMA**2))
    return weights / weights.sum()


def _restrict(values: Tensor, where: Tensor | None) -> Tensor:
    return values if where is None else values[where.expand_as(values)]
