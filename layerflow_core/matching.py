"""Layers that meet: one image stands for all frames, and one mask.

A still is held by a view of it (``Tensor.expand``): nothing is copied until something must be written.

Legend: N frames, C channels, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from .errors import FrameError

_log = logging.getLogger(__name__)
_FRAME_AXES = 4  # [N, C, H, W]


def hold(pixels: Tensor, count: int) -> Tensor:
    """A still [1, C, H, W] for ``count`` frames; clips of another length come back as they are."""
    if pixels.ndim != _FRAME_AXES or len(pixels) != 1 or count == 1:
        return pixels
    return pixels.expand(count, -1, -1, -1)


def hold_stills(clips: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every still among clips for as long as the longest of them lasts."""
    longest = max((len(pixels) for pixels in clips.values()), default=1)
    return {name: hold(pixels, longest) for name, pixels in clips.items()}


def match_matte(colour: Tensor, alpha: Tensor, name: str = "foreground") -> tuple[Tensor, Tensor]:
    """A layer's colour [N, 3, H, W] and alpha [N, 1, H, W], equally long; either may come as a still.

    ComfyUI's LoadImage gives an empty mask of 64 x 64 with an image that has no alpha. Where that says "opaque", it is
    taken so, with a warning; where it says "transparent", nothing would be left of the layer, and it is refused.

    Args:
        name: of the layer, for messages.

    Raises:
        FrameError: other frame counts, heights or widths.
    """
    if alpha.shape[2:] != colour.shape[2:]:
        alpha = _replace_empty(alpha, colour, name)
    count = max(len(colour), len(alpha))
    colour = hold(colour, count)
    alpha = hold(alpha, count)
    if len(colour) != len(alpha):
        raise FrameError(
            f"got {name} of {describe(colour)} and alpha of {describe(alpha)}, "
            "expected equal frames, height and width; one image or mask may stand for all frames"
        )
    return colour, alpha


def describe(pixels: Tensor) -> str:
    """Frames and size of a clip [N, C, H, W], for messages."""
    count, _, height, width = pixels.shape
    frames = "1 frame" if count == 1 else f"{count} frames"
    return f"{frames} of {width} x {height}"


def _replace_empty(alpha: Tensor, colour: Tensor, name: str) -> Tensor:
    """What a mask of another size than its image stands for; raises FrameError if that is nothing."""
    low, high = (float(edge) for edge in alpha.aminmax()) if alpha.numel() else (0.0, 1.0)
    mask = f"{describe(alpha)} for {name} of {describe(colour)}"
    if low == high == 1:
        _log.warning(
            "got an empty mask of %s: ComfyUI's LoadImage makes it, in 64 x 64, for an image without alpha; "
            "the layer is taken as opaque",
            mask,
        )
        return alpha[:1, :, :1, :1].expand(len(alpha), -1, *colour.shape[2:])
    if low == high == 0:
        raise FrameError(
            f"alpha: got an empty mask of {mask}, 0 everywhere: ComfyUI's LoadImage makes it, in 64 x 64, "
            "for an image without alpha. Disconnect it, then the layer is opaque; or load an image with "
            "alpha; or, for LoadImage's MASK, set 'alpha_is' to 'transparency (1 = transparent)'"
        )
    raise FrameError(
        f"got {name} of {describe(colour)} and alpha of {describe(alpha)}, expected equal height and width; resize one"
    )
