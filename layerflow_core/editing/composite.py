"""Putting a foreground over a background of possibly other size, length and place.

Legend: N frames, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import FrameError
from ..layers import Foreground
from ..matching import describe, hold, match_matte
from ..rgba import over
from ..video.frames import check_frames, hold_last, resize, resize_layer
from .transform import paste, shift


def _loop(frames: Tensor, count: int) -> Tensor:
    return frames[torch.arange(count) % len(frames)]


# How the shorter video is brought to the longer one's length; "trim" cuts the longer, "error" refuses.
_LENGTHEN: Mapping[str, Callable[[Tensor, int], Tensor]] = {"hold": hold_last, "loop": _loop}
LENGTHS = ("error", *_LENGTHEN, "trim")
RESIZES = ("error", "foreground", "background", "place")


@dataclass(frozen=True)
class Placement:
    """How a foreground lies over a background.

    Args:
        opacity: 0..1.
        x, y: pixels the foreground moves right and down.
        premultiplied: the foreground's colour already has alpha in it.
        resize: ``error`` refuses other sizes, ``foreground`` / ``background`` resizes that one to the other's size,
            ``place`` keeps both and lays the foreground at (x, y) from the top left.
        length: ``error`` refuses other frame counts, ``hold`` repeats the shorter one's last frame, ``loop`` starts
            it again, ``trim`` cuts the longer one. One frame is a still and always held.

    Raises:
        FrameError: a value is unknown or out of range.
    """

    opacity: float = 1.0
    x: int = 0
    y: int = 0
    premultiplied: bool = False
    resize: str = "error"
    length: str = "error"

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise FrameError(f"got opacity {self.opacity}, expected 0 to 1")
        _check_rule(self.resize, RESIZES, "resize")
        _check_rule(self.length, LENGTHS, "length")


def _check_rule(value: str, known: Iterable[str], what: str) -> None:
    if value not in known:
        raise FrameError(f"got unknown {what} rule {value!r}, expected one of {', '.join(known)}")


@dataclass(frozen=True)
class Residual:
    """What a blended scene has beyond its layers, to be added to a composite.

    Args:
        pixels: [N, 3, H, W], -1..1.
        scale: of what is added; 1 as it was, 0 nothing.
        follows: it moves with the foreground by (x, y).
    """

    pixels: Tensor
    scale: float = 1.0
    follows: bool = True


def composite_stack(
    layers: Sequence[Foreground],
    background: Tensor,
    placement: Placement = Placement(),
    residual: Residual | None = None,
) -> Tensor:
    """Foregrounds over a background, the first one lowest; and the residual on all of it.

    Args:
        layers: straight, and placed where they are, but for the first: how that lies is what ``placement`` says. Its
            rules for sizes and lengths hold for all.
        background: [M, 3, H, W].

    Returns:
        [frames, 3, height, width] of the background's size.

    Raises:
        FrameError: shapes that no rule was chosen for, or bad pixels.
    """
    canvas = background
    how = placement
    for layer in layers:
        canvas = composite_over(layer.colour, layer.opacity, canvas, how)
        how = Placement(resize=placement.resize, length=placement.length)
    if residual is None:
        return canvas
    pixels = residual.pixels
    if residual.follows:
        pixels = shift(pixels, placement.x, placement.y)
    return add_residual(canvas, pixels, residual.scale)


def composite_over(
    foreground: Tensor, alpha: Tensor, background: Tensor, placement: Placement = Placement()
) -> Tensor:
    """Foreground over background, float32, exact to rounding where nothing is resized.

    Args:
        foreground: [N, 3, H, W]; alpha: [N, 1, H, W]; background: [M, 3, H', W']. Each may be a still of one frame.

    Returns:
        [frames, 3, height, width] of the background's size.

    Raises:
        FrameError: shapes that no rule was chosen for, or bad pixels.
    """
    check_frames(foreground, "foreground", 3, fewest=1)
    check_frames(alpha, "alpha", 1, fewest=1)
    check_frames(background, "background", 3, fewest=1)
    foreground, alpha = match_matte(foreground, alpha)
    foreground, alpha, background = _match_length(foreground, alpha, background, placement.length)
    foreground, alpha, background = _match_size(foreground, alpha, background, placement)
    return over(foreground, alpha, background, placement.opacity, placement.premultiplied)


def add_residual(composite: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
    """A composite [N, 3, H, W] with what its layers do not explain, [N, 3, H, W] of -1..1.

    Either may be a still; raises FrameError where they do not fit, or for a scale that is no finite number.
    """
    if not math.isfinite(scale):
        raise FrameError(f"got residual of scale {scale}, expected a finite number")
    count = max(len(composite), len(residual))
    composite = hold(composite, count)
    residual = hold(residual, count)
    if residual.shape != composite.shape:
        raise FrameError(
            f"got residual of {describe(residual)} and composite of {describe(composite)}, "
            "expected equal frames, height and width"
        )
    return composite + residual * scale


def _match_length(
    foreground: Tensor, alpha: Tensor, background: Tensor, rule: str
) -> tuple[Tensor, Tensor, Tensor]:
    if len(foreground) == len(background) or 1 in (len(foreground), len(background)):
        return foreground, alpha, background  # a still is held by broadcasting
    if rule == "error":
        raise FrameError(
            f"got foreground of {len(foreground)} and background of {len(background)} frames, "
            "expected equal lengths: choose hold, loop or trim"
        )
    if rule == "trim":
        count = min(len(foreground), len(background))
        return foreground[:count], alpha[:count], background[:count]
    count = max(len(foreground), len(background))
    lengthen = _LENGTHEN[rule]
    return lengthen(foreground, count), lengthen(alpha, count), lengthen(background, count)


def _match_size(
    foreground: Tensor, alpha: Tensor, background: Tensor, placement: Placement
) -> tuple[Tensor, Tensor, Tensor]:
    if foreground.shape[2:] != background.shape[2:]:
        if placement.resize == "error":
            raise FrameError(
                f"got foreground of {describe(foreground)} and background of {describe(background)}, "
                "expected equal sizes: choose which one is resized, or place"
            )
        if placement.resize == "background":
            background = resize(background, *foreground.shape[2:])
        if placement.resize == "foreground":
            foreground, alpha = _resize_foreground(
                foreground, alpha, background.shape[2:], placement.premultiplied
            )
    size = background.shape[2:]
    foreground = paste(foreground, size, placement.x, placement.y)
    alpha = paste(alpha, size, placement.x, placement.y)
    return foreground, alpha, background


def _resize_foreground(
    colour: Tensor, alpha: Tensor, size: torch.Size, is_premultiplied: bool
) -> tuple[Tensor, Tensor]:
    if is_premultiplied:
        return resize(colour, *size), resize(alpha, *size)
    return resize_layer(colour, alpha, *size)
