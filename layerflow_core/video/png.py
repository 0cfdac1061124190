"""PNG: images of 8 and 16 bits out, those of 16 bits in, and animations out.

What has 8 bits is read through Pillow, see ``stills`` and ``animations``.

Legend: N frames, C channels (3, or 4 with alpha), H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from ..atomic import replacing
from ..errors import FrameError
from .frame_selection import FrameSelection
from .image_files import open_image
from .listing import frame_name
from .metadata import as_texts
from .pixels import to_array
from .still import Still, read_facts
from .streams.encodings import APNG, write_stream
from .streams.reading import read_deep_still

ENDING = ".png"
# A third of the time of the encoder's own level, for files that are a fourteenth larger.
PNG_OPTIONS = {"pred": "paeth", "compression_level": "1"}

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = 33  # bytes of signature and header, which all other chunks follow
_PIXEL_FORMATS = {
    (3, 255): "rgb24",
    (4, 255): "rgba",
    (3, 65535): "rgb48be",
    (4, 65535): "rgba64be",
}


def is_deep_png(head: bytes) -> bool:
    """Whether a file that begins so is a PNG of 16 bits."""
    return head[:8] == _SIGNATURE and head[24:25] == b"\x10"


def read_deep_png(path: Path, selection: FrameSelection) -> Still:
    """16 bits, through ffmpeg; Pillow would cut them to 8. What the file says besides comes from Pillow."""
    from .colour_profiles import describe_profile

    with open_image(path, selection) as image:
        facts = read_facts(image)
        profile = describe_profile(image.info.get("icc_profile"))
    if profile:
        facts.remarks.append(
            f"its colour profile {profile!r} is not applied to 16 bits, and its colours are taken for sRGB"
        )
    return facts.still_of(read_deep_still(path, "png_pipe"))


def write_png(
    path: Path, image: Tensor, top: int = 255, metadata: Mapping[str, Any] | None = None
) -> None:
    """A PNG of 8 (``top`` 255) or 16 bits (65535), straight alpha.

    Args:
        image: [C, H, W].
        metadata: text chunks; values that are no text become JSON.

    Raises:
        FrameError: no image.
        VideoFileError: it cannot be written.
    """
    write_pngs(lambda number: path, [image], top, metadata)


def write_png_sequence(
    folder: Path,
    frames: Iterable[Tensor],
    fps: float | Fraction = 0,
    metadata: Mapping[str, Any] | None = None,
    top: int = 255,
) -> list[Path]:
    """A PNG a frame, ``00000.png`` and so on, as ``write_pngs``.

    Args:
        fps: of no use to images; every clip is written with one.
    """
    return write_pngs(lambda number: folder / frame_name(number, ENDING), frames, top, metadata)


def write_pngs(
    path_of: Callable[[int], Path],
    frames: Iterable[Tensor],
    top: int = 255,
    metadata: Mapping[str, Any] | None = None,
) -> list[Path]:
    """A PNG a frame, several being compressed at a time.

    Args:
        path_of: where the frame of this number goes.
        frames: each [C, H, W], all alike.
        metadata: text chunks of the first.

    Raises:
        FrameError: no images, or of different sizes.
        VideoFileError: one cannot be written.
    """
    texts = _text_chunks(metadata or {})
    paths = []
    for number, data in enumerate(_encode(frames, top)):
        path = path_of(number)
        with replacing(path) as partial:
            partial.write_bytes(data[:_HEAD] + (b"" if number else texts) + data[_HEAD:])
        paths.append(path)
    return paths


def _encode(frames: Iterable[Tensor], top: int) -> Iterator[bytes]:
    """The encoder holds back as many images as it has threads."""
    import av

    encoder = None
    shape = None
    for number, image in enumerate(frames):
        pixel_format = _pixel_format(image, top)
        if encoder is None:
            shape = image.shape
            encoder = _open_encoder(pixel_format, *shape[1:])
        if image.shape != shape:
            raise FrameError(
                f"got image {number} of {list(image.shape)}, expected {list(shape)} as the first"
            )
        # PyAV swaps the bytes itself.
        frame = av.VideoFrame.from_ndarray(to_array(image, top), format=pixel_format)
        frame.pts = number
        yield from map(bytes, encoder.encode(frame))
    if encoder is None:
        raise FrameError("got no images, expected one or more")
    yield from map(bytes, encoder.encode())


def _pixel_format(image: Tensor, top: int) -> str:
    channels = image.shape[0] if image.ndim == 3 else 0
    if (channels, top) not in _PIXEL_FORMATS:
        raise FrameError(f"got image of {list(image.shape)}, expected [3 or 4, H, W]")
    return _PIXEL_FORMATS[channels, top]


def _open_encoder(pixel_format: str, height: int, width: int):
    import av

    encoder = av.CodecContext.create("png", "w")
    encoder.height = height
    encoder.width = width
    encoder.pix_fmt = pixel_format
    encoder.time_base = Fraction(1, 1)
    encoder.thread_count = 0
    encoder.thread_type = "FRAME"
    encoder.options = dict(PNG_OPTIONS)
    return encoder


def _text_chunks(metadata: Mapping[str, Any]) -> bytes:
    """Text chunks of a PNG (W3C PNG, 11.3.3); JSON is pure ASCII."""
    chunks = b""
    for key, text in as_texts(metadata).items():
        body = key.encode() + b"\0" + text.encode("latin-1", "replace")
        checksum = zlib.crc32(b"tEXt" + body)
        chunks += struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", checksum)
    return chunks


def write_apng(
    path: Path,
    frames: Iterable[Tensor],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Animated PNG of frames [4, H, W], looping, 8 bits, straight alpha."""
    with replacing(path) as partial:
        write_stream(partial, frames, fps, APNG)
        if metadata:
            insert_metadata(partial, metadata)


def insert_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Put text chunks behind the header of a PNG that is there."""
    with path.open("rb") as old, replacing(path) as partial, partial.open("wb") as new:
        new.write(old.read(_HEAD) + _text_chunks(metadata))
        shutil.copyfileobj(old, new)
