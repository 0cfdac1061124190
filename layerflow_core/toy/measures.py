"""Measures against the procedural world's truth: errors of layers, and rules that name what a clip shows.

The rules are themselves checked on true clips (``evaluation``). What the field measures too is in the room
``layerflow_core/evaluation``.

Legend: T frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, coordinates

_PHASES = 16
_MEAN_SHADE = 0.875  # shapes are shaded from 1 at the top to 0.75
_RADII = (0.25, 0.27, 0.29, 0.31, 0.33)  # as scenes draw them, in image heights
_TURNS = 16
_FAINTEST = 0.2  # alpha below this is taken for nothing, so that noise does not become a shape


def soft_iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two alphas of one size, without a threshold."""
    return float(torch.minimum(a, b).sum() / torch.maximum(a, b).sum().clamp(min=1e-6))


def gradient_error(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of gradient magnitudes per pixel: edges that are missing, soft or in the wrong place."""
    return float((_edges(a) - _edges(b)).abs().mean())


def _edges(alpha: Tensor) -> Tensor:
    down, right = (
        alpha[..., 1:, :-1] - alpha[..., :-1, :-1],
        alpha[..., :-1, 1:] - alpha[..., :-1, :-1],
    )
    return torch.hypot(down, right)


def name_colour(foreground: Tensor, alpha: Tensor) -> str:
    """The palette colour nearest to the alpha-weighted mean, for straight [T, 3, H, W]."""
    mean = (foreground * alpha).sum((0, 2, 3)) / alpha.sum().clamp(min=1e-6)
    palette = torch.tensor(list(COLOURS.values())) * _MEAN_SHADE
    return list(COLOURS)[int((palette - mean).square().sum(1).argmin())]


def name_background(background: Tensor) -> str:
    """The background whose nearest phase is closest to the clip's mean image, [T, 3, H, W]."""
    image = background.mean(0)
    y, x = coordinates(*image.shape[1:])

    def distance(name: str) -> float:
        return min(
            float((BACKGROUNDS[name](x, y, i / _PHASES) - image).square().mean())
            for i in range(_PHASES)
        )

    return min(BACKGROUNDS, key=distance)


def name_shape(alpha: Tensor) -> str:
    """The shape that fits best over all frames of [T, 1, H, W], each at its best size, glass taken for solid."""
    solid = _solid(alpha)
    templates = _templates(*solid.shape[2:])
    scores = torch.zeros(len(templates))
    for frame in solid[::3, 0]:
        centred = _centre(frame)
        overlap = torch.minimum(templates, centred).sum((1, 2)) / torch.maximum(
            templates, centred
        ).sum((1, 2))
        scores += overlap
    best = scores.unflatten(0, (len(SHAPES), len(_RADII))).amax(1)
    return list(SHAPES)[int(best.argmax())]


@functools.cache
def _templates(height: int, width: int) -> Tensor:
    """[shapes * radii, H, W] alphas about the image's centre."""
    y, x = coordinates(height, width)
    middle = (width / height / 2, 0.5)
    distances = (
        SHAPES[name](x - middle[0], y - middle[1], radius) for name in SHAPES for radius in _RADII
    )
    return torch.stack(
        [_centre((0.5 - distance * height / 2).clamp(0, 1)) for distance in distances]
    )


def _solid(alpha: Tensor) -> Tensor:
    """Alpha with its top at 1, noise taken away."""
    top = torch.quantile(alpha.flatten(), 0.98).clamp(min=_FAINTEST)
    return torch.where(alpha < _FAINTEST / 2, 0.0, (alpha / top).clamp(0, 1))


def _centroids(alpha: Tensor) -> Tensor:
    """[T, 2] x and y in pixels; an empty frame has its image's centre."""
    weight = alpha[:, 0] if alpha.ndim == 4 else alpha[None]
    total = weight.sum((1, 2)).clamp(min=1e-6)
    ys, xs = (torch.arange(size, dtype=torch.float32) for size in weight.shape[1:])
    centres = torch.stack(
        [(weight * xs).sum((1, 2)) / total, (weight * ys[:, None]).sum((1, 2)) / total], 1
    )
    return torch.where(weight.sum((1, 2))[:, None] > 1, centres, _middle(weight))


def _middle(frames: Tensor) -> Tensor:
    """[2] x and y of the centre, pixels."""
    return (torch.tensor(frames.shape[-2:]).flip(0) - 1) / 2


def _centre(frame: Tensor) -> Tensor:
    """[H, W] rolled so that its centroid lies in the middle."""
    x, y = _centroids(frame)[0].tolist()
    to_x, to_y = _middle(frame).tolist()
    return frame.roll((round(to_y - y), round(to_x - x)), (0, 1))


def name_motion(alpha: Tensor) -> str:
    """The motion whose path lies nearest to that of the alpha's centroid, [T, 1, H, W]."""
    path = _centroids(_solid(alpha)) / alpha.shape[2]
    path = path - path.mean(0)
    return min(
        MOTIONS,
        key=lambda name: min(float((path - p).square().mean()) for p in _paths(name, len(path))),
    )


@functools.cache
def _paths(motion: str, frames: int) -> tuple[Tensor, ...]:
    """Centred paths [T, 2] in image heights; an orbit may start anywhere."""
    (dx, dy), t = MOTIONS[motion], torch.linspace(0, 1, frames)
    if motion != "circling":
        return (torch.stack([dx * (t - 0.5), dy * (t - 0.5)], 1),)
    starts = (2 * math.pi * i / _TURNS for i in range(_TURNS))
    orbits = (
        torch.stack([dx * (s + 2 * math.pi * t).cos(), dy * (s + 2 * math.pi * t).sin()], 1)
        for s in starts
    )
    return tuple(orbit - orbit.mean(0) for orbit in orbits)


def path_length(alpha: Tensor) -> float:
    """How far the alpha's centroid travels in [T, 1, H, W], in image heights: the dynamic degree of a clip."""
    path = _centroids(_solid(alpha)) / alpha.shape[2]
    return float((path[1:] - path[:-1]).norm(dim=1).sum())


def shape_consistency(alpha: Tensor) -> float:
    """Mean IoU of neighbouring frames of [T, 1, H, W], centroids laid on each other: 1 for an
    outline that never boils.
    """
    frames = [_centre(frame) for frame in _solid(alpha)[:, 0]]
    return sum(soft_iou(a, b) for a, b in zip(frames, frames[1:])) / (len(frames) - 1)
