"""Order, opacity and mute of layers, as a player shows them, made the layers' own.

Legend: N frames, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Interval, Len
from torch import Tensor

from ..errors import FrameError
from ..layers import RESIDUAL, Foreground, LayerVideo
from ..layout import BACKGROUND, BLENDED
from ..plain_data import as_record, parse_json

_LARGEST = 20_000
"""Characters of an arrangement; one of 64 layers with long names has some 15,000."""


@dataclass(frozen=True)
class ArrangedLayer:
    """One layer of an arrangement.

    Args:
        name: of the layer.
        opacity: 0..1, times its alpha.
        visible: false mutes it.
        solo: only layers that have it are seen, where one has it.
    """

    name: Annotated[str, Len(1, 200)]
    opacity: Annotated[float, Interval(ge=0, le=1)] = 1.0
    visible: bool = True
    solo: bool = False


def read_arrangement(text: str) -> list[ArrangedLayer]:
    """An arrangement from its text, a JSON list of layers, the lowest first; none where it is empty.

    Raises:
        FrameError: it is no such list, or names a layer twice.
    """
    if len(text) > _LARGEST:
        raise FrameError(f"arrangement: got {len(text)} characters, expected {_LARGEST} at most")
    if not text.strip():
        return []
    rows = as_record(
        list[ArrangedLayer], parse_json(text, "arrangement", FrameError), "arrangement", FrameError
    )
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FrameError(f"arrangement: got {', '.join(twice)} twice, expected each layer once")
    return rows


@dataclass(frozen=True)
class _Shown:
    """A layer at its place: its arrangement, and what it is."""

    row: ArrangedLayer
    colour: Tensor
    alpha: Tensor | None


def arrange(layers: LayerVideo, rows: Sequence[ArrangedLayer]) -> LayerVideo:
    """Layers in the order, with the opacity and without what is muted of an arrangement.

    A layer that it does not name keeps its place; foregrounds and background are seen then, residual and blended scene
    are not. The blended scene is left out, since it is of the layers as they were. A background that does not lie
    lowest, is not opaque or is alone, and a blended scene that is seen, become layers of their own
    (``background_layer``, ``blended_layer``).

    Raises:
        FrameError: nothing would be seen, or an alpha does not fit its colour.
    """
    if not rows:
        return layers
    layers = layers.held()
    shown = list(_shown(layers, rows))
    stack = [layer for layer in shown if layer.row.name != RESIDUAL]
    residual = next((layer for layer in shown if layer.row.name == RESIDUAL), None)
    if not stack:
        raise FrameError(
            "arrangement: got every layer muted, expected one that is seen: unmute one in the player"
        )
    lowest = stack[0].row
    has_background = lowest.name == BACKGROUND and lowest.opacity == 1 and len(stack) > 1
    return replace(
        layers,
        foregrounds=tuple(map(_as_foreground, stack[has_background:])),
        background=stack[0].colour if has_background else None,
        blended=None,
        residual=residual and residual.colour * residual.row.opacity,
    )


def _shown(layers: LayerVideo, rows: Sequence[ArrangedLayer]) -> Iterator[_Shown]:
    """Layers that are seen, the lowest first."""
    clips = _clips(layers)
    named = {row.name: row for row in rows}
    places = {row.name: place for place, row in enumerate(rows)}
    order = {name: places.get(name, place) for place, name in enumerate(clips)}
    arranged = [
        named.get(name) or ArrangedLayer(name, visible=name not in (RESIDUAL, BLENDED))
        for name in sorted(clips, key=order.__getitem__)
    ]
    has_solo = any(row.solo for row in arranged)
    for row in arranged:
        if row.solo if has_solo else row.visible:
            yield _Shown(row, *clips[row.name])


def _clips(layers: LayerVideo) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Colour and alpha by name in the player's own order, the lowest first."""
    clips = {
        BACKGROUND: (layers.background, None),
        **{layer.name: (layer.colour, layer.opacity) for layer in layers.foregrounds},
        RESIDUAL: (layers.residual, None),
        BLENDED: (layers.blended, None),
    }
    return {name: clip for name, clip in clips.items() if clip[0] is not None}


def _as_foreground(layer: _Shown) -> Foreground:
    alpha = torch.ones_like(layer.colour[:, :1]) if layer.alpha is None else layer.alpha
    name = layer.row.name
    return Foreground(
        f"{name}_layer" if name in (BACKGROUND, BLENDED) else name,
        layer.colour,
        alpha * layer.row.opacity,
    )
