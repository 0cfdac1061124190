"""Photoshop documents: one frame, every layer with pixels.

In, opacity, masks and visibility of layers and of the groups around them are honoured. Blend modes, effects and
adjustments are not, and one warning names the layers that have them. Out, a layer is a layer.

Legend: C channels, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..atomic import replacing
from ..errors import VideoFileError
from ..layout import BACKGROUND, BLENDED
from .allocation import check_room
from .listing import check_regular
from .packages import import_package
from .pixels import from_array, to_array

ENDING = ".psd"
_log = logging.getLogger(__name__)
_MOST_LAYERS = 1000
_SHOWN = 5
_PLAIN_MODES = ("NORMAL", "PASS_THROUGH")
_TAKEN_HIDDEN = (BACKGROUND, BLENDED)
# What psd-tools raises of damaged documents.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class _Leaf:
    """A layer that is no group.

    Args:
        opacity: of it and all groups around it, 0..1.
        visible: it is, and all groups around it are.
    """

    layer: Any
    opacity: float
    visible: bool


def read_psd(path: Path) -> list[tuple[str, Tensor]]:
    """Names and images [4, H, W] of the visible layers with pixels, the lowest first.

    ``background`` and ``blended`` come hidden too. Names may stand twice.

    Raises:
        VideoFileError: psd-tools is not installed, the document is damaged, has no such layer, or does not fit into
            memory.
    """
    document_type = import_package("psd_tools", "psd-tools", path, "read").PSDImage
    check_regular(path)
    try:
        document = document_type.open(path)
        leaves = list(_leaves(document))[:_MOST_LAYERS]
        return _read_leaves(leaves, document.size, path)
    except _DAMAGE as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise VideoFileError(
            f"{path} cannot be read as a Photoshop document ({reason}); is it complete?"
        ) from error


def _leaves(group, opacity: float = 1.0, visible: bool = True) -> Iterator[_Leaf]:
    """Layers from the lowest to the highest, those of groups in their place."""
    for layer in group:
        own = opacity * layer.opacity / 255
        shown = visible and layer.visible
        if layer.is_group():
            yield from _leaves(layer, own, shown)
        else:
            yield _Leaf(layer, own, shown)


def _read_leaves(
    leaves: list[_Leaf], size: tuple[int, int], path: Path
) -> list[tuple[str, Tensor]]:
    with_pixels = [leaf for leaf in leaves if leaf.layer.has_pixels()]
    taken = [leaf for leaf in with_pixels if leaf.visible or leaf.layer.name in _TAKEN_HIDDEN]
    _warn_of_hidden([leaf for leaf in with_pixels if leaf not in taken], path)
    _warn_of_modes(taken, leaves, path)
    if not taken:
        raise VideoFileError(f"{path} has no visible layer with pixels, expected at least one")
    check_room(len(taken), 4, size[1], size[0], str(path))
    return [(leaf.layer.name, _draw(leaf, size)) for leaf in taken]


def _draw(leaf: _Leaf, size: tuple[int, int]) -> Tensor:
    """[4, H, W] of the whole document; a layer's own image is cut to what is not empty."""
    from PIL import Image

    canvas = Image.new("RGBA", size)
    image = leaf.layer.topil()
    if image is not None:
        canvas.paste(image.convert("RGBA"), (leaf.layer.left, leaf.layer.top))
    drawn = from_array(np.asarray(canvas))
    drawn[3] *= leaf.opacity
    mask = leaf.layer.mask
    if mask is not None and not mask.disabled:
        drawn[3] *= _draw_mask(mask, size)
    return drawn


def _draw_mask(mask, size: tuple[int, int]) -> Tensor:
    """[H, W] of a layer's mask, its background colour where it has no pixels."""
    from PIL import Image

    canvas = Image.new("L", size, mask.background_color)
    image = mask.topil()
    if image is not None:
        canvas.paste(image.convert("L"), (mask.left, mask.top))
    return from_array(np.asarray(canvas)[..., None])[0]


def _warn_of_hidden(hidden: list[_Leaf], path: Path) -> None:
    if hidden:
        _log.warning("%s: left out hidden layers (%s)", path, _name(hidden))


def _warn_of_modes(taken: list[_Leaf], leaves: list[_Leaf], path: Path) -> None:
    special = [leaf for leaf in taken if _is_special(leaf.layer)]
    if special:
        _log.warning(
            "%s: blend modes, effects and clipping are not applied (%s); merge these layers in Photoshop to keep them",
            path,
            _name(special),
        )
    empty = [leaf for leaf in leaves if leaf.visible and not leaf.layer.has_pixels()]
    if empty:
        _log.warning(
            "%s: left out layers without pixels, such as adjustments (%s)", path, _name(empty)
        )


def _is_special(layer) -> bool:
    if layer.blend_mode.name not in _PLAIN_MODES or layer.has_effects():
        return True
    return bool(getattr(layer, "clipping", False))


def _name(leaves: list[_Leaf]) -> str:
    names = ", ".join(ascii(leaf.layer.name)[:60] for leaf in leaves[:_SHOWN])
    return names + (", ..." if len(leaves) > _SHOWN else "")


def write_psd(
    path: Path,
    foregrounds: Mapping[str, Tensor],
    opaque: Mapping[str, Tensor],
    fps: Fraction | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """A document of one frame, 8 bits, straight alpha: background, foregrounds, and the blended scene hidden on top.

    Args:
        foregrounds: by name, each [C, H, W], the lowest first.
        opaque: ``background`` and ``blended`` among them are layers too.
        fps, metadata: of no use to a document; every frame is written with them.

    Raises:
        VideoFileError: psd-tools is not installed, or the file cannot be written.
    """
    from PIL import Image

    document_type = import_package("psd_tools", "psd-tools", path, "written").PSDImage
    below = {name: opaque[name] for name in (BACKGROUND,) if name in opaque}
    above = {name: opaque[name] for name in (BLENDED,) if name in opaque}
    layers = {**below, **foregrounds, **above}
    height, width = next(iter(layers.values())).shape[-2:]
    document = document_type.new("RGBA", (width, height))  # else alpha would become a mask
    for name, image in layers.items():
        layer = document.create_pixel_layer(Image.fromarray(to_array(image, 255)), name=name)
        layer.visible = name not in above
    with replacing(path) as partial:
        document.save(str(partial))
