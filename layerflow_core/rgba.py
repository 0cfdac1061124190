"""Colour conventions and compositing: pure functions, exact in float32.

Inside this package colour is straight and alpha is 0..1 with 1 = opaque. The model's own convention (colour over mid
grey, alpha as a grey video, -1..1) is known in ``to_model`` and ``from_model`` and nowhere else.

Legend: N frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from .errors import FrameError
from .layout import ALPHA, FOREGROUND, Layout

# Below this the model's colour is mostly VAE error and is not divided further; it fades to mid grey instead.
LEAST_ALPHA = 1 / 16


def over(
    foreground: Tensor,
    alpha: Tensor,
    background: Tensor,
    opacity: float = 1.0,
    premultiplied: bool = False,
) -> Tensor:
    """Porter-Duff over (Porter and Duff 1984): the blended colour.

    Args:
        foreground, background: [N, 3, H, W], 0..1; the foreground straight unless ``premultiplied``.
        alpha: [N, 1, H, W], 0..1, 1 = opaque.
        opacity: 0..1, scales the foreground's share.
    """
    share = alpha * opacity
    colour = foreground * opacity if premultiplied else foreground * share
    return colour + background * (1 - share)


def premultiply(colour: Tensor, alpha: Tensor) -> Tensor:
    """Straight colour [..., 3, H, W] to premultiplied."""
    return colour * alpha


def unpremultiply(colour: Tensor, alpha: Tensor) -> Tensor:
    """Premultiplied colour to straight, 0..1; black where nothing is seen."""
    return torch.where(
        alpha > 0, colour / alpha.clamp(min=torch.finfo(alpha.dtype).tiny), 0.0
    ).clamp(0, 1)


def to_model(clips: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Straight layers to the clips the model sees.

    Args:
        clips: by layer name, [N, 3, H, W] (alpha: [N, 1, H, W]), 0..1; a foreground needs its alpha
            along if the layout is RGBA.

    Returns:
        By layer name, [N, 3, H, W] in -1..1: foreground premultiplied over mid grey, alpha as grey.

    Raises:
        FrameError: a foreground without its alpha.
    """
    check_mattes(clips, layout)
    model = {}
    for name, pixels in clips.items():
        kind = layout.clip(name).kind
        alpha = layout.alpha_of(name) if kind == FOREGROUND else None
        if kind == ALPHA:
            model[name] = (pixels * 2 - 1).expand(-1, 3, -1, -1)
        elif alpha:
            model[name] = over_grey(pixels, clips[alpha.name])
        else:
            model[name] = pixels * 2 - 1
    return model


def check_mattes(names: Collection[str], layout: Layout) -> None:
    """Raises FrameError for a foreground among the names without its alpha."""
    for name in names:
        alpha = layout.alpha_of(name) if layout.clip(name).kind == FOREGROUND else None
        if alpha and alpha.name not in names:
            raise FrameError(
                f"layer {name!r} is given without {alpha.name!r}, expected both: "
                "a foreground is colour and alpha"
            )


def over_grey(straight: Tensor, alpha: Tensor) -> Tensor:
    """[N, 3, H, W] 0..1 and [N, 1, H, W] to the model's foreground in -1..1: mid grey (0) where transparent."""
    return (straight * 2 - 1) * alpha


def shown_over_grey(straight: Tensor, alpha: Tensor) -> Tensor:
    """A foreground over mid grey, [N, 3, H, W] 0..1: how a layout without alpha clips shows it."""
    return 0.5 + 0.5 * over_grey(straight, alpha)


def from_grey(colour: Tensor, alpha: Tensor) -> Tensor:
    """The inverse of ``over_grey``, exact where alpha is at least 1/16; 0..1, clipped."""
    return (0.5 + 0.5 * colour / alpha.clamp(min=LEAST_ALPHA)).clamp(0, 1)


def from_model(clips: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The model's clips to straight layers in 0..1; the inverse of ``to_model`` up to clipping.

    Args:
        clips: all of the layout, or some; a foreground with its alpha.
    """
    there = [clip for clip in layout.clips if clip.name in clips]
    layers = {}
    for clip in there:
        if clip.kind == ALPHA:
            layers[clip.name] = (clips[clip.name].mean(1, keepdim=True) * 0.5 + 0.5).clamp(0, 1)
    for clip in there:
        alpha = layout.alpha_of(clip.name) if clip.kind == FOREGROUND else None
        if alpha:
            layers[clip.name] = from_grey(clips[clip.name], layers[alpha.name])
        elif clip.kind != ALPHA:
            layers[clip.name] = (clips[clip.name] * 0.5 + 0.5).clamp(0, 1)
    return layers


def checkerboard(height: int, width: int, cell: int = 8) -> Tensor:
    """[3, H, W]: what transparency is shown over."""
    y, x = torch.meshgrid(torch.arange(height) // cell, torch.arange(width) // cell, indexing="ij")
    return (0.4 + 0.2 * ((x + y) % 2).float()).expand(3, -1, -1)
