"""Formats as rows: what is listed, read, saved and offered follows from this table.

A new format is a module that reads and writes it, and a row here.

Legend: N frames, C channels (3, or 4 with alpha), H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from . import exr, png, psd, webp
from .animations import read_if_moving
from .footage import Footage
from .frame_selection import FrameSelection
from .still import Still
from .stills import read_still
from .streams.encodings import (
    BY_SUFFIX,
    H264,
    H265,
    PRORES_422,
    PRORES_4444,
    VP9_ALPHA,
    Encoding,
)
from .streams.reading import read_stream

Metadata = Mapping[str, Any]
Layers = Mapping[str, Tensor]


@dataclass(frozen=True)
class ClipWriter:
    """A way to save a clip.

    Args:
        name: by which it is chosen.
        ending: of the file; '' for a folder of images.
        write: (path, frames [C, H, W], frames per second, metadata) to a file or folder.
        has_alpha, is_opaque: whether it is offered for layers with alpha, and for those without.
    """

    name: str
    ending: str
    write: Callable[[Path, Iterable[Tensor], Fraction, Metadata], object]
    has_alpha: bool = True
    is_opaque: bool = False

    def save(
        self, place: Path, frames: Iterable[Tensor], fps: Fraction, metadata: Metadata
    ) -> Path:
        """Write frames to a place without ending; returns the file or folder."""
        path = place.with_name(place.name + self.ending)
        self.write(path, frames, fps, metadata)
        return path


@dataclass(frozen=True)
class LayeredFormat:
    """A way to keep all layers of one frame in one file.

    Args:
        name: by which it is chosen.
        read: a file to names and images [C, H, W]; '' is the name of a layer that has none.
        write: (path, foregrounds, opaque layers, frames per second, metadata), both by name, each [C, H, W].
        is_single: a file holds all of a set, and one frame of it; else each frame has a file.
        is_straight: its colour is always straight; else it is as the set's record says.
        keeps_residual: it holds a residual, as it is.
    """

    name: str
    ending: str
    read: Callable[[Path], Sequence[tuple[str, Tensor]]]
    write: Callable[[Path, Layers, Layers, Fraction, Metadata], None]
    is_single: bool = False
    is_straight: bool = False
    keeps_residual: bool = False


@dataclass(frozen=True)
class FileFormat:
    """A row: a kind of file.

    Args:
        endings: of its files, in lower case.
        read_clip: a file as a clip, None where it holds one image: (path, rate of files that name none, selection).
        read_still: a file as one image.
        is_frame: files of this kind in one folder are the frames of a clip.
        writers: ways to save a clip as such a file.
        layered: how all layers of a frame are one such file.
    """

    endings: tuple[str, ...]
    read_clip: Callable[[Path, Fraction, FrameSelection], Footage | None] | None = None
    read_still: Callable[[Path, FrameSelection], Still] | None = None
    is_frame: bool = False
    writers: tuple[ClipWriter, ...] = ()
    layered: LayeredFormat | None = None


def _stream(name: str, encoding: Encoding) -> ClipWriter:
    has_alpha = encoding.has_alpha
    return ClipWriter(name, encoding.suffix, encoding.write, has_alpha, not has_alpha)


STREAM = FileFormat(
    (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"),
    read_clip=read_stream,
    writers=(
        _stream("ProRes 4444 (.mov)", PRORES_4444),
        _stream("VP9 (.webm)", VP9_ALPHA),
        _stream("H.264 (.mp4)", H264),
        _stream("H.265 (.mp4)", H265),
        _stream("ProRes 422 HQ (.mov)", PRORES_422),
    ),
)
"""What a file of an unknown ending is read as."""

FORMATS = (
    STREAM,
    FileFormat(
        (png.ENDING,),
        read_clip=read_if_moving,
        read_still=read_still,
        is_frame=True,
        writers=(
            ClipWriter("PNG 8 bit", "", partial(png.write_png_sequence, top=255), is_opaque=True),
            ClipWriter(
                "PNG 16 bit", "", partial(png.write_png_sequence, top=65535), is_opaque=True
            ),
        ),
    ),
    FileFormat(
        (webp.ENDING,),
        read_clip=read_if_moving,
        read_still=read_still,
        is_frame=True,
        writers=(ClipWriter("animated WebP", webp.ENDING, webp.write_webp),),
    ),
    FileFormat(
        (".apng",),
        read_clip=read_if_moving,
        read_still=read_still,
        writers=(ClipWriter("animated PNG", png.ENDING, png.write_apng),),
    ),
    FileFormat(
        (exr.ENDING,),
        read_still=exr.read_exr_still,
        is_frame=True,
        layered=LayeredFormat(
            "OpenEXR (all layers)",
            exr.ENDING,
            exr.read_exr_layers,
            exr.write_exr,
            keeps_residual=True,
        ),
    ),
    FileFormat(
        (psd.ENDING,),
        layered=LayeredFormat(
            "PSD (one frame, all layers)",
            psd.ENDING,
            psd.read_psd,
            psd.write_psd,
            is_single=True,
            is_straight=True,
        ),
    ),
    FileFormat((".jpg", ".jpeg"), read_still=read_still, is_frame=True),
    FileFormat((".tif", ".tiff"), read_still=read_still, is_frame=True),
    FileFormat((".bmp",), read_still=read_still, is_frame=True),
    FileFormat((".gif",), read_clip=read_stream),
)

_BY_ENDING = {ending: row for row in FORMATS for ending in row.endings}
_WRITERS = tuple(writer for row in FORMATS for writer in row.writers)
_LAYERED = tuple(row.layered for row in FORMATS if row.layered is not None)

ENDINGS = frozenset(_BY_ENDING)
"""Of all files that are read."""
FRAME_ENDINGS = frozenset(ending for ending, row in _BY_ENDING.items() if row.is_frame)
"""Of images that are frames of a clip where they lie in one folder."""
WRITTEN_ENDINGS = frozenset(
    [
        *(writer.ending for writer in _WRITERS if writer.ending),
        *(layered.ending for layered in _LAYERED),
        *BY_SUFFIX,
    ]
)

WITH_ALPHA: Mapping[str, ClipWriter] = {row.name: row for row in _WRITERS if row.has_alpha}
"""By name, ways to save a clip with alpha."""
OPAQUE: Mapping[str, ClipWriter] = {row.name: row for row in _WRITERS if row.is_opaque}
"""By name, ways to save a clip without."""
LAYERED: Mapping[str, LayeredFormat] = {row.name: row for row in _LAYERED}
"""By name, ways to save all layers in one file."""


def find_format(path: Path) -> FileFormat:
    """The row of a file's ending; that of streams, which are told by their bytes, for an unknown one."""
    return _BY_ENDING.get(path.suffix.lower(), STREAM)
