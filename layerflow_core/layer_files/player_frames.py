"""What the layer player shows: one image a frame with all layers one below the other, and a video of them to play.

The player composites the layers itself, so each of them travels untouched: colour and alpha in rows of their own, a
residual around mid grey.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..layers import LayerVideo
from ..layout import BACKGROUND, BLENDED, FOREGROUND
from ..video.frames import resize, resize_layer
from ..video.png import write_png_sequence
from .player_stream import can_record, record_stream
from .record import RESIDUAL, shape_of
from .stored_pixels import bias

STREAM = "play.mp4"


def write_player_frames(folder: Path, layers: LayerVideo, longest: int) -> dict[str, Any]:
    """Write ``00000.png`` and so on into a folder, and ``play.mp4`` beside them.

    Args:
        longest: pixels of the longest side; smaller layers stay as they are.

    Returns:
        What the player has to know: width, height, fps, names of the frames, name of the video (None where
        this ffmpeg cannot write it), and the layers from the lowest to the highest with the rows of their colour and
        alpha.

    Raises:
        FrameError: layers of different length or size.
        VideoFileError: a file cannot be written.
    """
    layers = layers.held()
    count, height, width = shape_of(layers)
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    rows, described = _rows(layers)
    atlases = (_atlas([row[number] for row in rows], described, size) for number in range(count))
    folder.mkdir(parents=True, exist_ok=True)
    stream = STREAM if can_record() else None
    if stream:
        atlases = record_stream(folder / stream, atlases, len(rows), layers.fps)
    paths = write_png_sequence(folder, atlases)
    return {
        "width": size[1],
        "height": size[0],
        "fps": float(layers.fps),
        "frames": [path.name for path in paths],
        "stream": stream,
        "layers": described,
    }


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
        add(RESIDUAL, RESIDUAL, bias(layers.residual))
    if layers.blended is not None:
        add(BLENDED, BLENDED, layers.blended)
    return rows, described


def _atlas(images: list[Tensor], described: list[dict[str, Any]], size: tuple[int, int]) -> Tensor:
    """[3, H * rows, W]: the rows of one frame, one below the other."""
    return torch.cat([row.expand(3, -1, -1) for row in _resized(images, described, size)], 1)


def _resized(
    images: list[Tensor], described: list[dict[str, Any]], size: tuple[int, int]
) -> list[Tensor]:
    """The rows of one frame in the player's size; colour with its alpha, so that edges stay clean."""
    resized = []
    for layer in described:
        colour = images[layer["row"]][None]
        if layer["alphaRow"] is None:
            resized.append(resize(colour, *size)[0])
        else:
            alpha = images[layer["alphaRow"]][None]
            resized += [pixels[0] for pixels in resize_layer(colour, alpha, *size)]
    return resized
