"""Animated lossless WebP out, frame after frame; in, what is whole of a file that was cut.

WebP is read through Pillow, see ``stills`` and ``animations``.

The encoders at hand lose something: Pillow's makes one of frames that are held, ffmpeg's container lays each frame over
the one before. So each frame is encoded as a still and put into the container here (WebP Container Specification,
"Animation"; numbers are little-endian, sizes one less than they are).
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from ..atomic import replacing
from ..errors import FrameError, VideoFileError
from .pixels import to_arrays

ENDING = ".webp"

_EXIF_FIELDS = {"prompt": 0x0110, "workflow": 0x010F}  # where ComfyUI's frontend looks for them

# Flags of the file.
_HAS_ALPHA = 0x10
_HAS_EXIF = 0x08
_MOVES = 0x02

_REPLACES = 0x02  # a frame takes the place of the one before instead of lying over it
_STILL_START = 12  # behind a still's own RIFF head
_MOST = 16383  # a side, pixels


def write_webp(
    path: Path,
    frames: Iterable[Tensor],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Animated lossless WebP, looping, 8 bits, straight alpha; a frame lasts whole milliseconds,
    all together are exact.

    Args:
        frames: each [C, H, W], all alike.
        metadata: of these ``prompt`` and ``workflow``, as EXIF.

    Raises:
        FrameError: no frames, of different sizes, or too large for the format.
        VideoFileError: it cannot be written.
    """
    exif = _exif(metadata or {})
    with replacing(path) as partial, partial.open("wb") as file:
        for number, array in enumerate(to_arrays(frames, 255, path.name)):
            if number == 0:
                file.write(_head(array.shape, bool(exif), path))
            file.write(_chunk(b"ANMF", _placement(array.shape, number, fps) + _still(array)))
        if exif:
            file.write(_chunk(b"EXIF", exif))
        _close(file, path)


def whole_chunks(data: bytes) -> bytes:
    """Of a RIFF file the chunks that are complete, as a file."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        beyond = position + 8 + length + length % 2
        if beyond > len(data):
            break
        position = beyond
    return data[:4] + (position - 8).to_bytes(4, "little") + data[8:position]


def _exif(metadata: Mapping[str, Any]) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    for key, field in _EXIF_FIELDS.items():
        if key in metadata:
            exif[field] = f"{key}:{json.dumps(metadata[key])}"
    return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else b""


def _chunk(tag: bytes, data: bytes) -> bytes:
    return tag + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _head(shape: tuple[int, ...], has_exif: bool, path: Path) -> bytes:
    """The file up to its first frame; its size is known when it is closed."""
    if max(shape[:2]) > _MOST:
        raise FrameError(
            f"{path.name}: got frames of {shape[1]} x {shape[0]}, expected sides of {_MOST} at most in a WebP"
        )
    flags = _MOVES
    if shape[2] == 4:
        flags |= _HAS_ALPHA
    if has_exif:
        flags |= _HAS_EXIF
    canvas = _chunk(b"VP8X", struct.pack("<I", flags) + _size(shape))
    loop = _chunk(b"ANIM", bytes(6))
    return b"RIFF" + bytes(4) + b"WEBP" + canvas + loop


def _placement(shape: tuple[int, ...], number: int, fps: float | Fraction) -> bytes:
    """At the upper left corner, from this frame's start to the next one's."""
    begins = round(1000 * number / fps)
    ends = round(1000 * (number + 1) / fps)
    return bytes(6) + _size(shape) + _three(ends - begins) + bytes([_REPLACES])


def _size(shape: tuple[int, ...]) -> bytes:
    return _three(shape[1] - 1) + _three(shape[0] - 1)


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _still(array: np.ndarray) -> bytes:
    """The one chunk of a lossless still, without the file around it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()[_STILL_START:]


def _close(file: BinaryIO, path: Path) -> None:
    """The file's size into its head."""
    size = file.tell() - 8
    if size >= 2**32:
        raise VideoFileError(
            f"{path} would be larger than 4 GiB, which no WebP can be; save fewer frames or another format"
        )
    file.seek(4)
    file.write(struct.pack("<I", size))
