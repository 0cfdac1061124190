"""Animated lossless WebP, written frame after frame.

The encoders at hand lose something: Pillow's makes one of frames that are held, ffmpeg's container lays each frame over
the one before. So each frame is encoded as a still and put into the container here (WebP Container Specification,
"Animation"; numbers are little-endian, sizes one less than they are).
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from ..errors import FrameError, VideoFileError
from .atomic import replacing
from .pixels import to_array

_NOTES = {"prompt": 0x0110, "workflow": 0x010F}  # EXIF fields where ComfyUI's frontend looks for them
_HAS_ALPHA, _HAS_EXIF, _MOVES = 0x10, 0x08, 0x02
_REPLACES = 0x02  # a frame takes the place of the one before instead of lying over it
_PIXELS = (b"ALPH", b"VP8 ", b"VP8L")
_MOST = 16383  # a side, pixels


def write_webp(path: Path, frames: Iterable[Tensor], fps: float | Fraction, notes: Mapping[str, Any] | None = None) -> None:
    """Animated lossless WebP, looping, 8 bits, straight alpha; a frame lasts whole milliseconds, all together are exact.

    Args:
        frames: each [C, H, W], all alike.
        notes: of these ``prompt`` and ``workflow``, as EXIF.

    Raises:
        FrameError: no frames, of different sizes, or too large for the format.
        VideoFileError: it cannot be written.
    """
    exif = _exif(notes or {})
    shape = None
    with replacing(path) as partial, partial.open("wb") as file:
        for number, frame in enumerate(frames):
            if shape is None:
                shape = frame.shape
                if max(shape[1:]) > _MOST:
                    raise FrameError(f"{path.name}: frames of {list(shape)} met, expected sides of {_MOST} at most in a WebP")
                file.write(b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", _canvas(shape, bool(exif))) + _chunk(b"ANIM", bytes(6)))
            if frame.shape != shape:
                raise FrameError(f"{path.name}: frame {number} of {list(frame.shape)} met, expected {list(shape)} as the first")
            file.write(_chunk(b"ANMF", _placement(shape, number, fps) + _still(to_array(frame, 255))))
        if shape is None:
            raise FrameError(f"{path.name}: no frames met, expected one or more")
        if exif:
            file.write(_chunk(b"EXIF", exif))
        _close(file, path)


def _exif(notes: Mapping[str, Any]) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    for key, field in _NOTES.items():
        if key in notes:
            exif[field] = f"{key}:{json.dumps(notes[key])}"
    return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else b""


def _chunk(tag: bytes, data: bytes) -> bytes:
    return tag + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _canvas(shape: tuple[int, ...], has_exif: bool) -> bytes:
    flags = _MOVES | (_HAS_ALPHA if shape[0] == 4 else 0) | (_HAS_EXIF if has_exif else 0)
    return struct.pack("<I", flags) + _size(shape)


def _placement(shape: tuple[int, ...], number: int, fps: float | Fraction) -> bytes:
    """At the upper left corner, from this frame's start to the next one's."""
    begins, ends = (round(1000 * n / fps) for n in (number, number + 1))
    return bytes(6) + _size(shape) + _three(ends - begins) + bytes([_REPLACES])


def _size(shape: tuple[int, ...]) -> bytes:
    return _three(shape[2] - 1) + _three(shape[1] - 1)


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _still(array: np.ndarray) -> bytes:
    """The chunks of a still picture that hold pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", lossless=True, exact=True)
    return b"".join(_chunk(tag, data) for tag, data in _chunks(buffer.getvalue()[12:]) if tag in _PIXELS)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        length = struct.unpack("<I", data[4:8])[0]
        yield data[:4], data[8 : 8 + length]
        data = data[8 + length + length % 2 :]


def _close(file: BinaryIO, path: Path) -> None:
    """The file's size into its head."""
    size = file.tell() - 8
    if size >= 2**32:
        raise VideoFileError(f"{path} would be larger than 4 GiB, which no WebP can be; save fewer frames or another format")
    file.seek(4)
    file.write(struct.pack("<I", size))
