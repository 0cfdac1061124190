"""Layers moved, scaled, turned, put on a canvas of another size.

Everything that mixes pixels mixes premultiplied colour, so that no edge takes on the colour beyond it.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FrameError
from ..matching import match_matte
from ..rgba import premultiply, unpremultiply


@dataclass(frozen=True)
class Transform:
    """How a layer moves; all about its middle.

    Args:
        x, y: pixels right and down, fractions too.
        scale: 1 keeps the size.
        rotate: degrees, clockwise.

    Raises:
        FrameError: a scale of 0 or less, or a number that is none.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    rotate: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.scale, self.rotate)
        if not all(map(math.isfinite, numbers)) or self.scale <= 0:
            raise FrameError(f"got {self}, expected finite numbers and a scale above 0")

    @property
    def changes_nothing(self) -> bool:
        return self == Transform()


def transform(pixels: Tensor, move: Transform) -> Tensor:
    """Move premultiplied pixels, or a residual; what is uncovered is 0.

    Args:
        pixels: [N, C, H, W].

    Returns:
        The same shape. Whole pixels are moved exactly, fractions bilinearly; smaller scales are antialiased.
    """
    if (move.scale, move.rotate) == (1, 0):
        return shift(pixels, move.x, move.y)
    height, width = pixels.shape[2:]
    if move.scale < 1:
        size = (max(1, round(height * move.scale)), max(1, round(width * move.scale)))
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    grid = _source_grid(move, (height, width), pixels.shape[2:])
    return F.grid_sample(
        pixels,
        grid.to(pixels).expand(len(pixels), -1, -1, -1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )


def _source_grid(move: Transform, size: Sequence[int], source: Sequence[int]) -> Tensor:
    """[H, W, 2]: where each pixel comes from, in halves of the source from its middle.

    Args:
        size: height and width of the result.
        source: of what is sampled, which was shrunk already where the scale is below 1.
    """
    height, width = size
    shrunk_y = source[0] / height
    shrunk_x = source[1] / width
    scale_y = shrunk_y if move.scale < 1 else move.scale
    scale_x = shrunk_x if move.scale < 1 else move.scale

    # Pixels of the result from its middle, then turned back.
    down, right = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2 - move.y,
        torch.arange(width) - (width - 1) / 2 - move.x,
        indexing="ij",
    )
    turn = math.radians(move.rotate)
    turned_x = right * math.cos(turn) + down * math.sin(turn)
    turned_y = down * math.cos(turn) - right * math.sin(turn)

    from_x = turned_x * shrunk_x / scale_x
    from_y = turned_y * shrunk_y / scale_y
    return torch.stack([2 * from_x / source[1], 2 * from_y / source[0]], -1)


def shift(pixels: Tensor, x: float, y: float) -> Tensor:
    """Move premultiplied pixels right and down; fractions mix the two neighbours, what is uncovered is 0."""
    for axis, distance in ((3, x), (2, y)):
        whole = math.floor(distance)
        near = _shift_whole(pixels, whole, axis)
        if distance == whole:
            pixels = near
        else:
            far = _shift_whole(pixels, whole + 1, axis)
            pixels = torch.lerp(near, far, distance - whole)
    return pixels


def _shift_whole(pixels: Tensor, distance: int, axis: int) -> Tensor:
    x, y = (distance, 0) if axis == 3 else (0, distance)
    return paste(pixels, pixels.shape[2:], x, y)


def paste(pixels: Tensor, size: Sequence[int], x: int, y: int) -> Tensor:
    """Pixels [N, C, H, W] on a canvas of another height and width, x right of and y below its upper left corner.

    What leaves the canvas is cut, what is uncovered is 0.
    """
    height, width = size
    if (x, y) == (0, 0) and tuple(pixels.shape[2:]) == (height, width):
        return pixels
    canvas = pixels.new_zeros(*pixels.shape[:2], height, width)
    left = max(0, x)
    top = max(0, y)
    right = min(width, x + pixels.shape[3])
    bottom = min(height, y + pixels.shape[2])
    if bottom > top and right > left:
        shown = pixels[:, :, top - y : bottom - y, left - x : right - x]
        canvas[:, :, top:bottom, left:right] = shown
    return canvas


def transform_layer(colour: Tensor, alpha: Tensor, move: Transform) -> tuple[Tensor, Tensor]:
    """Move a straight layer [N, 3, H, W] with its alpha [N, 1, H, W]; raises FrameError if they do not fit."""
    colour, alpha = match_matte(colour, alpha)
    if move.changes_nothing:
        return colour, alpha
    both = transform(torch.cat([premultiply(colour, alpha), alpha], 1), move)
    matte = both[:, 3:].clamp(0, 1)
    return unpremultiply(both[:, :3], matte), matte
