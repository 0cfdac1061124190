"""Errors of an alpha against the true one, as the matting field defines them, and what can be said of one alone.

Every measure of two is a value for each frame, so that callers average as they like. The definitions are those of the
evaluation of RobustVideoMatting (``evaluate_lr.py``, ``evaluate_hr.py``) after Rhemann et al. 2009 and Erofeev et al.
2015.

Legend: N frames, H height, W width; alpha [N, 1, H, W], 0..1, 1 = opaque.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError
from .packages import import_package

THOUSANDTHS = 1e3
HUNDREDTHS = 1e2
TRANSPARENT, OPAQUE = 0.05, 0.95
"""Below and above, an alpha is taken for meant as 0 or 1."""
_SUM_UNIT = 1e3  # Grad and Conn are sums over pixels, in thousands
_SIGMA = 1.4
_TAIL = 0.01  # of the Gaussian, where the filter ends
_LEVELS = 10  # thresholds of connectivity
_LEAST_GAP = 0.15  # below its level, that counts as disconnected


def mad(made: Tensor, true: Tensor) -> Tensor:
    """[N] mean absolute differences, in thousandths."""
    return (made.double() - true.double()).abs().mean((1, 2, 3)) * THOUSANDTHS


def mse(made: Tensor, true: Tensor) -> Tensor:
    """[N] mean squared differences, in thousandths."""
    return (made.double() - true.double()).square().mean((1, 2, 3)) * THOUSANDTHS


def gradient_difference(made: Tensor, true: Tensor, stretched: bool = False) -> Tensor:
    """[N] *Grad*: sums of squared differences of gradient magnitudes, in thousands.

    Args:
        stretched: stretch each alpha to 0..1 by its own extremes first, as evaluations at low resolution do; an alpha
            that is too weak everywhere costs nothing then.
    """
    sums = [
        (_gradient(_stretch(a) if stretched else a) - _gradient(_stretch(b) if stretched else b))
        .square()
        .sum()
        for a, b in _frames(made, true)
    ]
    return torch.stack(sums) / _SUM_UNIT


def connectivity_difference(made: Tensor, true: Tensor) -> Tensor:
    """[N] *Conn*: how differently pixels hang together with the largest region that both have, in thousands.

    Raises:
        EvaluationError: SciPy is missing.
    """
    differences = []
    for a, b in _frames(made, true):
        level = _connected_level(a[0, 0], b[0, 0])
        difference = (_connectivity(b[0, 0], level) - _connectivity(a[0, 0], level)).abs()
        differences.append(difference.sum())
    return torch.stack(differences) / _SUM_UNIT


def dtssd(made: Tensor, true: Tensor) -> Tensor:
    """[N] *dtSSD*: root mean square difference of changes from frame to frame, in hundredths; the first frame has 0.

    Raises:
        EvaluationError: one frame alone.
    """
    check_moving(made)
    error = made.double() - true.double()
    changes = (error[1:] - error[:-1]).square().mean((1, 2, 3)).sqrt() * HUNDREDTHS
    return F.pad(changes, (1, 0))


def flicker(alpha: Tensor) -> float:
    """Mean absolute change from frame to frame, in thousandths: of a subject that stands still, nothing but flicker.

    Raises:
        EvaluationError: one frame alone.
    """
    check_moving(alpha)
    return float((alpha[1:] - alpha[:-1]).abs().mean(dtype=torch.float64)) * THOUSANDTHS


def share_between(alpha: Tensor) -> float:
    """Share of pixels strictly between 0.05 and 0.95, 0..1: soft edges, and haze where there is more of it."""
    return float(((alpha > TRANSPARENT) & (alpha < OPAQUE)).double().mean())


def check_moving(frames: Tensor) -> None:
    """Raises EvaluationError for one frame alone."""
    if len(frames) < 2:
        raise EvaluationError("got one frame, expected two or more")


def _frames(made: Tensor, true: Tensor):
    """Pairs of [1, 1, H, W] in float64."""
    for a, b in zip(made.split(1), true.split(1)):
        yield a.double(), b.double()


def _stretch(alpha: Tensor) -> Tensor:
    low, high = alpha.aminmax()
    return (alpha - low) / (high - low) if high > low else torch.zeros_like(alpha)


def _gradient(alpha: Tensor) -> Tensor:
    """Magnitude of the Gaussian's derivatives, the border repeated."""
    across = _derivative()
    half = across.shape[0] // 2
    filters = torch.stack([across, across.T])[:, None]
    moved = F.conv2d(F.pad(alpha, (half,) * 4, mode="replicate"), filters)
    return torch.hypot(moved[:, 0], moved[:, 1])


@cache
def _derivative() -> Tensor:
    """[9, 9] derivative along a row of a Gaussian, its squares summing to 1."""
    reach = _SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * _SIGMA * _TAIL))
    half = math.ceil(reach)
    places = torch.arange(-half, half + 1, dtype=torch.float64)
    gaussian = torch.exp(-places.square() / (2 * _SIGMA**2))
    derivative = torch.outer(gaussian, -places * gaussian)
    return derivative / derivative.square().sum().sqrt()


def _connected_level(a: Tensor, b: Tensor) -> Tensor:
    """[H, W] the last threshold up to which a pixel is in the largest region that both alphas have."""
    ndimage = import_package("scipy.ndimage", "scipy", "the measure Conn")
    level = torch.ones_like(a)
    is_connected = torch.ones_like(a, dtype=torch.bool)
    for number in range(1, _LEVELS + 1):
        threshold = number / _LEVELS
        labels, count = ndimage.label(((a >= threshold) & (b >= threshold)).numpy())
        region = _largest(torch.from_numpy(labels), count)
        level[is_connected & ~region] = (number - 1) / _LEVELS
        is_connected &= region
    return level


def _largest(labels: Tensor, count: int) -> Tensor:
    """[H, W] bool, the region of most pixels; none where there is none."""
    if not count:
        return torch.zeros_like(labels, dtype=torch.bool)
    sizes = torch.bincount(labels.flatten())
    sizes[0] = 0  # what belongs to no region
    return labels == int(sizes.argmax())


def _connectivity(alpha: Tensor, level: Tensor) -> Tensor:
    gap = alpha - level
    return 1 - gap * (gap >= _LEAST_GAP)
