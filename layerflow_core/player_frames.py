"""What the layer player shows: one image a frame with all layers one below the other.

The player composites the layers itself, so each of them travels untouched: colour and alpha in rows of their own, a
residual around mid grey.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .layer_files.record import RESIDUAL, check_layers
from .layers import LayerVideo
from .layout import BACKGROUND, BLENDED, FOREGROUND
from .rgba import premultiply, unpremultiply
from .video.images import IMAGE_NUMBER, write_png_frames


def write_player_frames(folder: Path, layers: LayerVideo, longest: int) -> dict[str, Any]:
    """Write ``00000.png`` and so on into a folder.

    Args:
        longest: pixels of the longest side; smaller layers stay as they are.

    Returns:
        What the player has to know: width, height, fps, names of the frames, and the layers from the lowest to the
        highest with the rows of their colour and alpha.

    Raises:
        FrameError: layers of different length or size.
    """
    layers = layers.held()
    check_layers(layers)
    rows, described = _rows(layers)
    height, width = _size(layers, longest)
    atlases = (
        torch.cat(
            [
                row.expand(3, -1, -1)
                for row in _shrunk([row[number] for row in rows], described, height, width)
            ],
            1,
        )
        for number in range(len(layers.foreground))
    )
    paths = write_png_frames(lambda number: folder / f"{IMAGE_NUMBER.format(number)}.png", atlases)
    return {
        "width": width,
        "height": height,
        "fps": float(layers.fps),
        "frames": [path.name for path in paths],
        "layers": described,
    }


def _size(layers: LayerVideo, longest: int) -> tuple[int, int]:
    height, width = layers.foreground.shape[2:]
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _rows(layers: LayerVideo) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Clips in the order of their rows, and the layers that they are, lowest first."""
    rows: list[Tensor] = []
    described: list[dict[str, Any]] = []

    def add(name: str, kind: str, colour: Tensor, alpha: Tensor | None = None) -> None:
        described.append(
            {
                "name": name,
                "kind": kind,
                "row": len(rows),
                "alphaRow": None if alpha is None else len(rows) + 1,
            }
        )
        rows.extend([colour] if alpha is None else [colour, alpha])

    if layers.background is not None:
        add(BACKGROUND, BACKGROUND, layers.background)
    for layer in layers.foregrounds:
        add(layer.name, FOREGROUND, layer.colour, layer.opacity)
    if layers.residual is not None:
        add(RESIDUAL, RESIDUAL, 0.5 + 0.5 * layers.residual)
    if layers.blended is not None:
        add(BLENDED, BLENDED, layers.blended)
    return rows, described


def _shrunk(
    images: list[Tensor], described: list[dict[str, Any]], height: int, width: int
) -> list[Tensor]:
    """The rows of one frame in the player's size; colour with its alpha, so that edges stay clean."""
    if images[0].shape[-2:] == (height, width):
        return images

    def shrink(image: Tensor) -> Tensor:
        return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]

    small = []
    for layer in described:
        colour = images[layer["row"]]
        if layer["alphaRow"] is None:
            small.append(shrink(colour))
        else:
            alpha = shrink(images[layer["alphaRow"]])
            small += [
                unpremultiply(shrink(premultiply(colour, images[layer["alphaRow"]])), alpha),
                alpha,
            ]
    return small
