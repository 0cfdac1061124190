"""The player's frames as a video, which a browser decodes faster than it shows it.

It is for playing: H.264 of high quality with halved chroma. Pixel values come from the lossless frames beside it.

Legend: H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import VideoFileError
from ..rates import exact_rate
from ..video.frames import resize
from ..video.pixels import to_array
from ..video.streams.pixel_conversion import BT709, LIMITED, PixelConversion

LARGEST_SIDE = 4096
"""Pixels that every decoder and every card's textures take."""
SHORTEST_SECONDS = 10
"""A browser that begins a video again loses a few frames, so a shorter clip stands in its file several times."""
MOST_BYTES = 64 * 2**20
"""Of what is kept of a clip to be repeated."""
_CODEC = "libx264"
_PIXEL_FORMAT = "yuv420p"
# Without B-frames packets stand in the order of their frames, so they can be repeated as they are.
_OPTIONS = {"preset": "superfast", "tune": "fastdecode", "crf": "16", "bf": "0", "g": "24"}


def can_record() -> bool:
    """Whether this build of ffmpeg has the encoder; the player steps through lossless frames without."""
    import av

    return _CODEC in av.codecs_available


def record_stream(
    path: Path, frames: Iterable[Tensor], rows: int, fps: float | Fraction
) -> Iterator[Tensor]:
    """Hand frames on, each of which goes into an ``.mp4`` when it comes by; the file is whole after the last.

    Args:
        frames: [3, H * rows, W], all alike.
        rows: images that stand one below the other in a frame.

    Raises:
        VideoFileError: the file cannot be written.
    """
    import av

    rate = exact_rate(fps)
    packets: list[tuple[bytes, bool]] = []
    with _named_errors(path), av.open(str(path), "w") as container:
        stream: Any = None
        conversion = PixelConversion(_PIXEL_FORMAT)
        for number, image in enumerate(frames):
            array = to_array(_fit(image, rows), 255)
            stream = stream or _open_stream(container, rate, array.shape)
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = number
            frame.time_base = 1 / rate
            _mux(container, stream.encode(conversion.convert(frame)), packets)
            yield image
        if stream is None:
            return
        _mux(container, stream.encode(None), packets)
        for number in range(len(packets), count_repeats(packets, rate) * len(packets)):
            data, is_key = packets[number % len(packets)]
            packet = av.Packet(data)
            packet.stream = stream
            packet.time_base = 1 / rate
            packet.pts = packet.dts = number
            packet.is_keyframe = is_key
            container.mux(packet)


def _mux(container: Any, packets: list[Any], kept: list[tuple[bytes, bool]]) -> None:
    for packet in packets:
        kept.append((bytes(packet), packet.is_keyframe))
        container.mux(packet)


def count_repeats(packets: list[tuple[bytes, bool]], rate: Fraction) -> int:
    """How often the clip stands in its file."""
    size = sum(len(data) for data, _ in packets)
    wanted = -(-SHORTEST_SECONDS * rate // len(packets))
    return max(1, min(int(wanted), MOST_BYTES // max(1, size)))


def _fit(image: Tensor, rows: int) -> Tensor:
    """The rows in an even size that a decoder takes."""
    height = image.shape[1] // rows
    scale = min(1.0, LARGEST_SIDE / image.shape[1], LARGEST_SIDE / image.shape[2])
    size = [max(2, 2 * int(length * scale / 2)) for length in (height, image.shape[2])]
    # Rows end on chroma's grid, or the colour of one would be seen in the next.
    return torch.cat([resize(row[None], *size)[0] for row in image.chunk(rows, 1)], 1)


def _open_stream(container: Any, rate: Fraction, shape: tuple[int, ...]) -> Any:
    stream = container.add_stream(_CODEC, rate=rate, options=dict(_OPTIONS))
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = _PIXEL_FORMAT
    context = stream.codec_context
    context.thread_count = 0
    context.color_range = LIMITED
    context.colorspace = BT709
    context.color_primaries = BT709
    context.color_trc = BT709
    return stream


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    import av

    try:
        yield
    except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
        raise VideoFileError(f"{path.name} cannot be written as {_CODEC}: {error}") from error
