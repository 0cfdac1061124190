"""Layers from files: a saved set, or any video, image or folder of images.

Legend: N frames, C channels, H height, W width; 0..1, straight colour unless said, alpha 1 = opaque.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..errors import VideoFileError
from ..layers import Foreground, LayerVideo
from ..layout import BACKGROUND, BLENDED, FOREGROUND
from ..names import FileNames
from ..rgba import unpremultiply
from ..video.files import (
    ALL,
    FrameSelection,
    list_images,
    matte_of,
    read_exr,
    read_video,
    read_with_matte,
)
from ..video.frame_buffer import FrameBuffer
from .documents import DOCUMENT, read_document
from .record import (
    BIAS,
    PREMULTIPLIED,
    RECORD,
    RESERVED,
    RESIDUAL,
    STRAIGHT,
    SetRecord,
    check_layers,
    read_set,
)

__all__ = ["load_layers", "matte_of"]

_EXR = ".exr"
_IMAGE_RATE = Fraction(8)


def load_layers(
    path: Path, selection: FrameSelection = ALL, matte: Path | None = None, alpha: str = STRAIGHT
) -> LayerVideo:
    """Read a saved set, or any video, image or folder of images as a foreground.

    Args:
        path: a folder with ``layers.json``, the record itself, or a file.
        matte: of a file: another one whose alpha, or brightness, is the alpha.
        alpha: of a file: what its colour is; a set's record says it itself.

    Raises:
        FrameError: layers that do not fit each other.
        VideoFileError: nothing there, damaged, or more than fits into memory.
    """
    record = path / RECORD if os.path.isdir(path) else path
    if record.name == RECORD and os.path.isfile(record):
        layers = _load_set(read_set(record), selection)
    else:
        layers = _load_clip(path, selection, matte, alpha)
    layers = layers.held()
    check_layers(layers)
    return layers


def _load_clip(path: Path, selection: FrameSelection, matte: Path | None, alpha: str) -> LayerVideo:
    if _is_document(path):
        return read_document(path, selection)
    if _is_exr(path) and matte is None:
        images = list_images(path) if os.path.isdir(path) else [path]
        return _read_exrs(images, None, selection, alpha)
    selection = replace(selection, premultiplied=selection.premultiplied or alpha == PREMULTIPLIED)
    footage = read_with_matte(path, matte, selection)
    foreground = Foreground(FOREGROUND, footage.colour, footage.alpha)
    return LayerVideo((foreground,), None, None, float(footage.fps))


def _is_document(path: Path) -> bool:
    return path.suffix.lower() == DOCUMENT and not os.path.isdir(path)


def _is_exr(path: Path) -> bool:
    """An OpenEXR file, or a folder of nothing else."""
    if not os.path.isdir(path):
        return path.suffix.lower() == _EXR
    return all(image.suffix.lower() == _EXR for image in list_images(path))


def _load_set(record: SetRecord, selection: FrameSelection) -> LayerVideo:
    first = record.files[record.foregrounds[0]]
    if _is_document(first):
        return replace(read_document(first, selection), fps=float(record.fps))
    if os.path.isdir(first) and _is_exr(first):
        return _read_exrs(
            list_images(first), record.fps, selection, record.alpha, record.foregrounds[0]
        )
    return _load_apart(record, selection)


def _load_apart(record: SetRecord, selection: FrameSelection) -> LayerVideo:
    """A file, or a folder of images, for each layer."""
    of_foregrounds = replace(selection, premultiplied=record.alpha == PREMULTIPLIED)
    foregrounds = []
    for name in record.foregrounds:
        footage = read_video(record.files[name], record.fps, of_foregrounds)
        foregrounds.append(Foreground(name, footage.colour, footage.alpha))
    plain = replace(selection, premultiplied=False)
    opaque = {
        name: read_video(record.files[name], record.fps, plain).colour
        for name in RESERVED
        if name in record.files
    }
    if RESIDUAL in opaque:
        opaque[RESIDUAL] = (opaque[RESIDUAL] - BIAS) / BIAS
    return _assemble(foregrounds, opaque, selection.rate(record.fps))


def _assemble(
    foregrounds: list[Foreground], opaque: Mapping[str, Tensor], fps: Fraction
) -> LayerVideo:
    background, blended, residual = (opaque.get(name) for name in (BACKGROUND, BLENDED, RESIDUAL))
    return LayerVideo(tuple(foregrounds), background, blended, float(fps), residual)


def _read_exrs(
    paths: list[Path],
    fps: Fraction | None,
    selection: FrameSelection,
    alpha: str,
    first: str = FOREGROUND,
) -> LayerVideo:
    """Frames that hold every layer.

    Args:
        fps: None where nobody knows.
        first: name of the layer whose channels have none.
    """
    if selection.premultiplied:
        alpha = PREMULTIPLIED
        selection = replace(selection, premultiplied=False)
    rate = fps or Fraction(selection.fps or _IMAGE_RATE)
    chosen = list(selection.of(paths, rate))
    buffers: dict[str, FrameBuffer] = {}
    for number, path in enumerate(chosen):
        images = read_exr(path)
        if number == 0:
            buffers = {
                name: FrameBuffer(f"{path.parent}, {name or first}", len(chosen)) for name in images
            }
        if images.keys() != buffers.keys():
            raise VideoFileError(
                f"{path} has the layers {sorted(images)}, expected {sorted(buffers)} as in the first frame"
            )
        for name, image in images.items():
            buffers[name].add(_sized(name, image, selection))
    if not buffers:
        raise VideoFileError(f"{paths[0]} has no layer of R, G and B, or no frame is picked")
    return _exr_layers(buffers, alpha, first, selection.rate(rate), paths[0])


def _exr_layers(
    buffers: Mapping[str, FrameBuffer], kind: str, first: str, fps: Fraction, path: Path
) -> LayerVideo:
    names = FileNames(RESERVED)
    foregrounds = []
    opaque = {}
    for name, buffer in buffers.items():
        colour, alpha = buffer.finish()
        if name in RESERVED:
            opaque[name] = colour
            continue
        if alpha is not None and kind == PREMULTIPLIED:
            colour = unpremultiply(colour, alpha)
        foregrounds.append(Foreground(names.claim(name or first), colour, alpha))
    if not foregrounds:
        raise VideoFileError(f"{path} has the layers {sorted(buffers)}, expected a foreground too")
    return _assemble(foregrounds, opaque, fps)


def _sized(name: str, image: Tensor, selection: FrameSelection) -> Tensor:
    """A residual around mid grey for the while, because resizing clips to 0..1."""
    if name == RESIDUAL and (selection.width or selection.height):
        return (selection.sized(BIAS + BIAS * image) - BIAS) / BIAS
    return selection.sized(torch.as_tensor(image))
