"""Layers from files: a set, or any video, image or folder of images.

Legend: N frames, C channels, H height, W width; 0..1, straight colour unless said, alpha 1 = opaque.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..errors import VideoFileError
from ..layers import Foreground, LayerVideo
from ..layout import BACKGROUND, BLENDED, FOREGROUND
from ..names import FileNames
from ..rgba import unpremultiply
from ..video.files import (
    ALL,
    IMAGE_RATE,
    FrameSelection,
    list_images,
    matte_of,
    read_video,
    read_with_matte,
)
from ..video.formats import FileFormat, LayeredFormat, find_format
from ..video.frame_buffer import FrameBuffer
from .record import RECORD, RESERVED, RESIDUAL, SetRecord, read_set, shape_of
from .stored_pixels import PREMULTIPLIED, STRAIGHT, bias, unbias

__all__ = ["find_record", "load_layers", "load_set", "matte_of"]

_DOCUMENT_RATE = Fraction(1)


def load_layers(
    path: Path, selection: FrameSelection = ALL, matte: Path | None = None, alpha: str = STRAIGHT
) -> LayerVideo:
    """Read a set, or any video, image or folder of images as a foreground.

    Args:
        path: a folder with ``layers.json``, the record itself, or a file.
        matte: of a file: another one whose alpha, or brightness, is the alpha.
        alpha: of a file: what its colour is; a set's record says it itself.

    Raises:
        FrameError: layers that do not fit each other.
        VideoFileError: nothing there, damaged, or more than fits into memory.
    """
    file = find_record(path)
    if file is None:
        return _checked(_load_clip(path, selection, matte, alpha))
    record = read_set(file)
    if not record.foregrounds:
        raise VideoFileError(f"{file} names no foregrounds, expected at least one")
    return load_set(record, selection)


def find_record(path: Path) -> Path | None:
    """The record of a set's folder, or the path itself where it is a record; None if it is no set."""
    record = path / RECORD if os.path.isdir(path) else path
    return record if record.name == RECORD and os.path.isfile(record) else None


def load_set(
    record: SetRecord, selection: FrameSelection = ALL, only: Collection[str] | None = None
) -> LayerVideo:
    """The layers of a set; raises as ``load_layers``.

    Args:
        only: names of the layers that are wanted, None for all; others may come along.
    """
    names = [*record.foregrounds, *(name for name in RESERVED if name in record.files)]
    wanted = [name for name in names if only is None or name in only]
    form = _find_layered(record, names)
    if form is not None:
        first = next(iter(record.foregrounds), FOREGROUND)
        files = _LayeredFiles(form, selection, record.alpha, first)
        return _checked(files.read(_files_of(record.files[first]), record.fps))
    return _checked(_load_apart(record, wanted, selection))


def _find_layered(record: SetRecord, names: list[str]) -> LayeredFormat | None:
    """How all layers of a set are in the same files; None if each has its own."""
    files = {record.files[name] for name in names}
    return _format_of(files.pop()).layered if len(files) == 1 else None


def _checked(layers: LayerVideo) -> LayerVideo:
    """The same layers, every still held; raises FrameError if they do not fit each other."""
    layers = layers.held()
    shape_of(layers)
    return layers


def _load_clip(path: Path, selection: FrameSelection, matte: Path | None, alpha: str) -> LayerVideo:
    row = _format_of(path)
    holds_layers_alone = row.read_clip is None and row.read_still is None
    if row.layered is not None and (matte is None or holds_layers_alone):
        return _LayeredFiles(row.layered, selection, alpha, FOREGROUND).read(_files_of(path))
    selection = replace(selection, premultiplied=selection.premultiplied or alpha == PREMULTIPLIED)
    footage = read_with_matte(path, matte, selection)
    foreground = Foreground(FOREGROUND, footage.colour, footage.alpha)
    return LayerVideo((foreground,), None, None, float(footage.fps))


def _format_of(path: Path) -> FileFormat:
    """Of a file; of a folder, that of its images where they are all alike."""
    rows = [find_format(file) for file in _files_of(path)]
    is_one = all(row is rows[0] for row in rows)
    return rows[0] if is_one else replace(rows[0], layered=None)


def _files_of(path: Path) -> list[Path]:
    return list_images(path) if os.path.isdir(path) else [path]


def _load_apart(record: SetRecord, wanted: Iterable[str], selection: FrameSelection) -> LayerVideo:
    """A file, or a folder of images, for each layer."""
    of_foregrounds = replace(selection, premultiplied=record.alpha == PREMULTIPLIED)
    of_others = replace(selection, premultiplied=False)
    foregrounds = []
    opaque = {}
    for name in wanted:
        path = record.files[name]
        if name in record.foregrounds:
            footage = read_video(path, record.fps, of_foregrounds)
            foregrounds.append(Foreground(name, footage.colour, footage.alpha))
        else:
            opaque[name] = read_video(path, record.fps, of_others).colour
    if RESIDUAL in opaque:
        opaque[RESIDUAL] = unbias(opaque[RESIDUAL])
    return _assemble(foregrounds, opaque, selection.rate(record.fps))


def _assemble(
    foregrounds: list[Foreground], opaque: Mapping[str, Tensor], fps: Fraction
) -> LayerVideo:
    return LayerVideo(
        tuple(foregrounds),
        opaque.get(BACKGROUND),
        opaque.get(BLENDED),
        float(fps),
        opaque.get(RESIDUAL),
    )


@dataclass
class _LayeredFiles:
    """Files that hold every layer.

    Args:
        alpha: what colour is in files that do not say it.
        first: name of the layer that has none.
    """

    form: LayeredFormat
    selection: FrameSelection
    alpha: str
    first: str

    def __post_init__(self) -> None:
        if self.selection.premultiplied:
            self.alpha = PREMULTIPLIED
        if self.form.is_straight:
            self.alpha = STRAIGHT
        self.selection = replace(self.selection, premultiplied=False)
        if self.form.is_single:
            self.selection = replace(self.selection, start=0, count=0, every=1, fps=0)

    def read(self, paths: list[Path], fps: Fraction | None = None) -> LayerVideo:
        """Files, one a frame.

        Args:
            fps: None where nobody knows.
        """
        unknown = _DOCUMENT_RATE if self.form.is_single else IMAGE_RATE
        rate = fps or Fraction(self.selection.fps or unknown)
        chosen = list(self.selection.of(paths, rate))
        names: list[str] = []
        buffers: list[FrameBuffer] = []
        for number, path in enumerate(chosen):
            images = self.form.read(path)
            if number == 0:
                names = [name for name, _ in images]
                buffers = [self._buffer(path, name, len(chosen)) for name in names]
            for buffer, (name, image) in zip(buffers, _in_order(images, names, path)):
                buffer.add(self._sized(name, image))
        if not buffers:
            raise VideoFileError(f"{paths[0]} has no layer of R, G and B, or no frame is picked")
        return self._assemble(names, buffers, self.selection.rate(rate), paths[0])

    def _buffer(self, path: Path, name: str, count: int) -> FrameBuffer:
        return FrameBuffer(f"{path.parent}, {name or self.first}", count)

    def _sized(self, name: str, image: Tensor) -> Tensor:
        """A residual around mid grey for the while, because resizing clips to 0..1."""
        is_resized = self.selection.width or self.selection.height
        if name == RESIDUAL and self.form.keeps_residual and is_resized:
            return unbias(self.selection.sized(bias(image)))
        return self.selection.sized(image)

    def _assemble(
        self, names: list[str], buffers: list[FrameBuffer], fps: Fraction, path: Path
    ) -> LayerVideo:
        kept = RESERVED if self.form.keeps_residual else (BACKGROUND, BLENDED)
        claimed = FileNames(RESERVED)
        foregrounds = []
        opaque: dict[str, Tensor] = {}
        for name, buffer in zip(names, buffers):
            colour, alpha = buffer.finish()
            if name in kept and name not in opaque:
                opaque[name] = colour
                continue
            if alpha is not None and self.alpha == PREMULTIPLIED:
                colour = unpremultiply(colour, alpha)
            foregrounds.append(Foreground(claimed.claim(name or self.first), colour, alpha))
        if not foregrounds:
            raise VideoFileError(
                f"{path} has the layers {sorted(names)}, expected a foreground too"
            )
        return _assemble(foregrounds, opaque, fps)


def _in_order(
    images: Sequence[tuple[str, Tensor]], names: list[str], path: Path
) -> Sequence[tuple[str, Tensor]]:
    """The same images in the order of the first frame's; raises VideoFileError if they are others."""
    found = [name for name, _ in images]
    if found == names:
        return images
    if sorted(found) != sorted(names):
        raise VideoFileError(
            f"{path} has the layers {sorted(found)}, expected {sorted(names)} as in the first frame"
        )
    by_name = dict(images)
    return [(name, by_name[name]) for name in names]
