"""Small files as other programs write them, made by PyAV, Pillow and bytes; and readers that are not ours."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layerflow_core.video.files import ALL, Footage, FrameSelection, read_video

LOSSLESS = {"qp": "0", "preset": "ultrafast"}
"""Options of libx264."""

UNTAGGED = (2, 2, 2, 0)
"""Matrix, primaries, transfer and range of a video that says nothing."""


def images(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """[H, W, 3] bytes, each unlike all others and unlike itself when it is turned or mirrored."""
    y, x = np.mgrid[0:height, 0:width]
    across = x * 200 // width
    down = y * 200 // height
    made = []
    for number in range(count):
        third = np.full_like(x, number * 255 // max(1, count - 1))
        made.append(np.stack([across, down, third], -1).astype(np.uint8))
    return made


def greys(count: int, height: int = 32, width: int = 32, step: int = 8) -> list[np.ndarray]:
    """[H, W, 3] bytes; ``numbers_in`` tells which is which."""
    return [np.full((height, width, 3), 16 + number * step, np.uint8) for number in range(count)]


def numbers_in(footage: Footage, step: int = 8) -> list[int]:
    """Numbers of ``greys`` that a video of them shows."""
    means = footage.colour.mean((1, 2, 3)) * 255
    return [round((float(mean) - 16) / step) for mean in means]


def as_tensor(array: np.ndarray) -> Tensor:
    """[H, W, C] whole numbers to [C, H, W] in 0..1."""
    return torch.from_numpy(array.astype(np.float32) / np.iinfo(array.dtype).max).permute(2, 0, 1)


def write_video(
    path: Path,
    frames: Iterable,
    codec: str = "libx264rgb",
    pixel_format: str = "rgb24",
    rate: Fraction | int = 10,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] = UNTAGGED,
    container_options: dict[str, str] | None = None,
    form: str | None = None,
    aspect: Fraction | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encode frames, arrays or ``av.VideoFrame``.

    Args:
        times: milliseconds of each frame; None for even ones.
        tags: matrix, primaries, transfer and range by H.273.
    """
    import av

    options = LOSSLESS if options is None and codec.startswith("libx264") else options
    with av.open(str(path), "w", format=form, options=container_options or {}) as container:
        stream = None
        for number, frame in enumerate(frames):
            if isinstance(frame, np.ndarray):
                frame = av.VideoFrame.from_ndarray(
                    frame, "rgba" if frame.shape[2] == 4 else "rgb24"
                )
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options or {})
                stream.width = frame.width
                stream.height = frame.height
                stream.pix_fmt = pixel_format
                context = stream.codec_context
                context.colorspace, context.color_primaries = tags[:2]
                context.color_trc, context.color_range = tags[2:]
                if aspect:
                    context.sample_aspect_ratio = aspect
                if times:
                    context.time_base = Fraction(1, 1000)
                stream.metadata.update(metadata or {})
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def solid(yuv: tuple[int, ...], height: int, width: int, pixel_format: str = "yuv444p"):
    """An ``av.VideoFrame`` of one colour, as the encoder stores it."""
    import av

    frame = av.VideoFrame(width, height, pixel_format)
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    for plane, value in zip(frame.planes, yuv):
        count = plane.buffer_size // np.dtype(dtype).itemsize
        plane.update(np.full(count, value, dtype).tobytes())
    return frame


def decoded(path: Path) -> Tensor:
    """[N, 3, H, W] by PyAV alone, as the frames lie in the file."""
    import av

    with av.open(str(path)) as container:
        arrays = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.stack([as_tensor(array) for array in arrays])


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write the display matrix (a, b, c, d) into the track header of an MP4 or MOV."""
    data = bytearray(path.read_bytes())
    position = data.find(b"tkhd")
    assert position > 0
    start = position + 8 + (32 if data[position + 4] else 20) + 16
    a, b, c, d = (number << 16 for number in matrix)
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name and content of every chunk."""
    position = 8
    found = []
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        found.append((name, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def png_of(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with sound checksums."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        checksum = zlib.crc32(name + content)
        parts.append(struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum))
    return b"".join(parts)


def deep_png(array: np.ndarray, extra: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG of 16 bits from [H, W, 1 to 4].

    Args:
        extra: chunks before the pixels.
    """
    height, width, channels = array.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = array.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    pixels = (b"IDAT", zlib.compress(raw))
    return png_of([(b"IHDR", head), *extra, pixels, (b"IEND", b"")])


def deep_tiff(array: np.ndarray, tags: dict[int, int] | None = None) -> bytes:
    """A TIFF of 16 bits, uncompressed, from [H, W, 3 or 4].

    Args:
        tags: more of them, of one short each.
    """
    height, width, channels = array.shape
    entries = {256: width, 257: height, 259: 1, 262: 2, 277: channels, 278: height}
    entries |= {279: array.nbytes, 284: 1, **(tags or {})}
    directory_size = 2 + 12 * (len(entries) + 2) + 4
    bits_at = 8 + directory_size
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    entries[273] = bits_at + len(bits)
    lines = [struct.pack("<HHII", 258, 3, channels, bits_at)]
    for tag, value in entries.items():
        kind = 4 if value > 65535 else 3
        lines.append(struct.pack("<HHII", tag, kind, 1, value))
    lines.sort(key=lambda line: struct.unpack_from("<H", line)[0])
    directory = struct.pack("<H", len(lines)) + b"".join(lines) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8)
    return head + directory + bits + array.astype("<u2").tobytes()


def read(path: Path, **selection) -> Footage:
    """As ``read_video``."""
    return read_video(path, selection=FrameSelection(**selection) if selection else ALL)
