"""Layers to look at: a contact sheet (layers as rows, moments as columns) and a moving strip of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layers import LayerVideo
from ..rgba import checkerboard, over
from ..video.frames import spread_frames

GAP = 4
PAPER = 0.12


def _image_layers(layers: LayerVideo) -> list[Tensor]:
    """Each foreground over a checkerboard, its alpha, the background, the blend: [N, 3, H, W] each."""
    rows = []
    for layer in layers.foregrounds:
        board = checkerboard(*layer.colour.shape[2:])
        rows += [over(layer.colour, layer.opacity, board), layer.opacity.expand(-1, 3, -1, -1)]
    return rows + [row for row in (layers.background, layers.blended) if row is not None]


def draw_strip(layers: LayerVideo) -> Tensor:
    """The layers side by side as a video, [N, 3, H, W * layers]."""
    return torch.cat(_image_layers(layers), -1)


def draw_sheet(layers: LayerVideo, columns: int = 6) -> Tensor:
    """[3, H, W] 0..1: each foreground over a checkerboard, its alpha, the background, the blend and
    the recomposition.
    """
    rows = _image_layers(layers)
    if layers.background is not None:
        rows.append(layers.recompose())
    shown = spread_frames(len(rows[0]), min(columns, len(rows[0])))
    height, width = rows[0].shape[2:]
    sheet_height = len(rows) * (height + GAP) + GAP
    sheet_width = len(shown) * (width + GAP) + GAP
    sheet = torch.full((3, sheet_height, sheet_width), PAPER)
    for row_number, row in enumerate(rows):
        top = GAP + row_number * (height + GAP)
        for column, frame in enumerate(shown):
            left = GAP + column * (width + GAP)
            sheet[:, top : top + height, left : left + width] = row[frame]
    return sheet
