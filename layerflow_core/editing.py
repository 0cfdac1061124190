"""Layers changed by hand: moved, retimed, their edges refined.

Everything that mixes pixels mixes premultiplied colour, so that no edge takes on the colour beyond it.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import FrameError
from .matching import match_matte
from .rgba import premultiply, unpremultiply

_SIGMAS = 3  # a Gaussian's reach


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


def _held(number: int, count: int) -> int:
    return min(number, count - 1)


def _looped(number: int, count: int) -> int:
    return number % count


def bounce(number: int, count: int) -> int:
    """Frame to show as the ``number``-th of a clip of ``count`` that plays there and back again."""
    period = max(1, 2 * (count - 1))
    return min(number % period, period - number % period)


# What a layer shows once its frames have run out.
ENDINGS: Mapping[str, Callable[[int, int], int]] = {
    "hold": _held,
    "loop": _looped,
    "bounce": bounce,
}


@dataclass(frozen=True)
class Retiming:
    """Which frame of a layer is shown when; the layer keeps its length.

    Args:
        speed: frames of the layer per frame shown; 0.5 is slow motion.
        reverse: from the last frame to the first.
        start: frames the layer begins later; its first frame is shown until then.
        freeze: frame that is held from there on, -1 for none.
        ending: key of ``ENDINGS``.

    Raises:
        FrameError: a value is out of range.
    """

    speed: float = 1.0
    reverse: bool = False
    start: int = 0
    freeze: int = -1
    ending: str = "hold"

    def __post_init__(self) -> None:
        if self.ending not in ENDINGS:
            raise FrameError(
                f"got unknown ending {self.ending!r}, expected one of {', '.join(ENDINGS)}"
            )
        if not (0 <= self.speed < math.inf) or self.start < 0 or self.freeze < -1:
            raise FrameError(f"got {self}, expected a speed and a start of 0 and more")

    def frames(self, count: int) -> list[int]:
        """Frame numbers to show, ``count`` of them."""
        show = ENDINGS[self.ending]
        steps = [max(0, number - self.start) for number in range(count)]
        shown = [show(round(step * self.speed), count) for step in steps]
        if self.reverse:
            shown = [count - 1 - number for number in shown]
        if self.freeze < 0 or self.freeze >= count:
            return shown
        return shown[: self.freeze] + [shown[self.freeze]] * (count - self.freeze)


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
