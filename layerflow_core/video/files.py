"""Video and image files in: the door that chooses how a file is read.

Only regular files of listed formats are opened. What a file says about itself is honoured (orientation, pixel aspect,
colour matrix, range and curve, windows, delays, kind of alpha), or one warning says what is not.
Alpha travels straight.
Frames go straight into the result, and what will not fit into memory is refused before it is read.

Legend: N frames, C channels, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..errors import VideoFileError
from ..rgba import unpremultiply
from .footage import Footage
from .formats import FRAME_ENDINGS, find_format
from .frame_buffer import FrameBuffer
from .frame_selection import ALL, AUTO, COLOURS, FrameSelection
from .listing import check_regular, list_frames
from .stills import read_still

__all__ = [
    "ALL",
    "AUTO",
    "COLOURS",
    "Footage",
    "FrameSelection",
    "list_images",
    "matte_of",
    "read_images",
    "read_video",
    "read_with_matte",
]

_log = logging.getLogger(__name__)
IMAGE_RATE = Fraction(8)
"""Frames per second of images whose rate nobody tells: the model's own."""


def read_video(
    path: Path, default_fps: Fraction | None = None, selection: FrameSelection = ALL
) -> Footage:
    """Read a video file, a folder of images in the order of their numbers, or one image.

    Args:
        default_fps: rate of images, or of a file that names none; None is ``selection.fps``, or 8.

    Raises:
        VideoFileError: nothing there, no video in it, damaged, more than fits into memory, or too short for what is
            picked.
    """
    if os.path.isdir(path):
        return read_images(list_images(path), default_fps, selection)
    check_regular(path)
    row = find_format(path)
    if row.read_clip is not None:
        footage = row.read_clip(path, default_fps or IMAGE_RATE, selection)
        if footage is not None:
            return footage
    return read_images([path], default_fps, selection)


def list_images(folder: Path) -> list[Path]:
    """Images of a folder in the order of their numbers; raises VideoFileError if there is none."""
    return list_frames(folder, FRAME_ENDINGS)


def read_images(
    paths: list[Path], fps: Fraction | None = None, selection: FrameSelection = ALL
) -> Footage:
    """Read these images as the frames of a video.

    Args:
        fps: their rate; None is ``selection.fps``, or 8.

    Raises:
        VideoFileError: one is damaged, which is named; they have different sizes, or do not fit into memory.
    """
    rate = Fraction(fps or selection.fps or IMAGE_RATE)
    chosen = list(selection.of(paths, rate))
    source = str(paths[0].parent if len(paths) > 1 else paths[0]) if paths else "no images"
    buffer = FrameBuffer(source, len(chosen), drops_full_alpha=True)
    reader = _ImageReader(selection)
    for path in chosen:
        frame = reader.read(path)
        if frame is not None:
            buffer.add(frame)
    colour, alpha = buffer.finish()
    reader.warn(source, len(colour))
    return Footage(colour, alpha, selection.rate(rate), rate)


class _ImageReader:
    """Reads images one by one, and says once in the end what was met."""

    def __init__(self, selection: FrameSelection) -> None:
        self._selection = selection
        self._remarks: dict[str, Path] = {}
        self._damaged: list[str] = []
        self._last: tuple[Path, Tensor | None] | None = None

    def read(self, path: Path) -> Tensor | None:
        """[C, H, W]; None for a damaged one that is to be left out."""
        if self._last is None or self._last[0] != path:  # resampling may show one several times
            self._last = (path, self._read(path))
        return self._last[1]

    def _read(self, path: Path) -> Tensor | None:
        try:
            still = (find_format(path).read_still or read_still)(path, self._selection)
        except VideoFileError as error:
            if not self._selection.keep_what_is_there:
                raise
            self._damaged.append(str(error))
            return None
        for remark in still.remarks:
            self._remarks.setdefault(remark, path)
        return self._selection.sized(still.frame, still.aspect)

    def warn(self, source: str, kept: int) -> None:
        for remark, path in self._remarks.items():
            _log.warning("%s: %s", path, remark)
        if self._damaged:
            _log.warning(
                "%s: left out %d damaged images, kept %d; the first: %s",
                source,
                len(self._damaged),
                kept,
                self._damaged[0],
            )


def read_with_matte(path: Path, matte: Path | None, selection: FrameSelection = ALL) -> Footage:
    """A clip whose alpha may be a file of its own.

    Args:
        matte: a file or folder whose alpha, or brightness, is the clip's alpha; None for the clip's own. It is picked
            as the clip is, and images have the clip's rate.

    Raises:
        VideoFileError: as ``read_video``, for either.
    """
    if matte is None:
        return read_video(path, selection=selection)
    plain = replace(selection, premultiplied=False)
    footage = read_video(path, selection=plain)
    alpha = matte_of(read_video(matte, footage.file_fps, plain))
    colour = footage.colour
    if (
        selection.premultiplied
        and alpha.shape[2:] == colour.shape[2:]
        and len(alpha) in (1, len(colour))
    ):
        colour = unpremultiply(colour, alpha)
    return replace(footage, colour=colour, alpha=alpha)


def matte_of(footage: Footage) -> Tensor:
    """A matte video's alpha [N, 1, H, W]: its own where it has one, else its brightness."""
    return footage.alpha if footage.alpha is not None else footage.colour.mean(1, keepdim=True)
