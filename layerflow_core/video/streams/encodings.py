"""Streams out, frame after frame: an encoding is a row, and memory does not grow with length.

Alpha travels in the file's own alpha channel. Frames are BT.709, limited range, and say so: untagged files are guessed
at, differently by every program.

Legend: C channels (3, or 4 with alpha), H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...atomic import replacing
from ...errors import VideoFileError
from ...rates import exact_rate
from ..metadata import as_texts
from ..pixels import to_arrays
from .pixel_conversion import BT709, LIMITED, PixelConversion, is_rgb


@dataclass(frozen=True)
class Encoding:
    """A row: how a video file is written.

    Args:
        suffix: of the file.
        array_format, top: of the frames handed to the encoder, and their largest value.
        odd_format: pixel format of odd sizes, which halved chroma would cut.
        container, muxer: options of the file around it, and its kind where the suffix does not tell.
    """

    codec: str
    suffix: str
    pixel_format: str
    array_format: str
    top: int
    options: Mapping[str, str]
    odd_format: str = ""
    container: Mapping[str, str] = field(default_factory=dict)
    muxer: str | None = None

    @property
    def has_alpha(self) -> bool:
        return self.array_format.startswith("rgba")

    def write(
        self,
        path: Path,
        frames: Iterable[Tensor],
        fps: float | Fraction,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """As ``write_stream``."""
        write_stream(path, frames, fps, self, metadata)


_MOVIE = {"movflags": "+faststart+use_metadata_tags"}
PRORES_4444 = Encoding(
    "prores_ks",
    ".mov",
    "yuva444p10le",
    "rgba64le",
    65535,
    {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
    container=_MOVIE,
)
VP9_ALPHA = Encoding(
    "libvpx-vp9",
    ".webm",
    "yuva420p",
    "rgba",
    255,
    {"crf": "0", "b": "0", "row-mt": "1", "cpu-used": "2", "auto-alt-ref": "0"},
    "yuva420p",
)
APNG = Encoding("apng", ".png", "rgba", "rgba", 255, {}, container={"plays": "0"}, muxer="apng")
H264 = Encoding(
    "libx264", ".mp4", "yuv420p", "rgb24", 255, {"crf": "12", "preset": "medium"}, "yuv444p", _MOVIE
)
H265 = Encoding(
    "libx265",
    ".mp4",
    "yuv420p10le",
    "rgb48le",
    65535,
    # Without B-frames: with them x265 leaves the time stamps of clips of one or two frames unset.
    {"crf": "14", "preset": "medium", "x265-params": "log-level=error:bframes=0"},
    "yuv444p10le",
    {**_MOVIE, "strict": "experimental"},
)
PRORES_422 = Encoding(
    "prores_ks",
    ".mov",
    "yuv422p10le",
    "rgb48le",
    65535,
    {"profile": "3", "vendor": "apl0"},
    "yuv444p10le",
    _MOVIE,
)

VP9 = Encoding(
    "libvpx-vp9",
    ".webm",
    "yuv420p",
    "rgb24",
    255,
    {"crf": "12", "b": "0", "row-mt": "1", "cpu-used": "2"},
    "yuv444p",
)
MATROSKA = replace(H264, suffix=".mkv", container={})

# Opaque video by the ending of the file's name.
BY_SUFFIX: Mapping[str, Encoding] = {
    encoding.suffix: encoding for encoding in (H264, PRORES_422, VP9, MATROSKA)
}


def write_opaque(path: Path, frames: Iterable[Tensor], fps: float | Fraction) -> None:
    """An opaque video [N, 3, H, W] in the encoding that the name's ending stands for, key of ``BY_SUFFIX``.

    Raises:
        FrameError: no frames, or of different sizes.
        VideoFileError: another ending, or the file cannot be written.
    """
    check_suffix(path)
    write_stream(path, frames, fps, BY_SUFFIX[path.suffix.lower()])


def check_suffix(path: Path) -> None:
    """Raises VideoFileError unless ``write_opaque`` can write a file of this name."""
    if path.suffix.lower() not in BY_SUFFIX:
        raise VideoFileError(
            f"{path}: got the ending {path.suffix!r}, expected one of {', '.join(BY_SUFFIX)}"
        )


def write_stream(
    path: Path,
    frames: Iterable[Tensor],
    fps: float | Fraction,
    form: Encoding,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Encode frames as they come.

    Args:
        frames: each [C, H, W] as the encoding takes it; one or more.
        metadata: metadata of the file; values that are no text become JSON.

    Raises:
        FrameError: no frames, or of different sizes.
        VideoFileError: the file cannot be written.
    """
    import av

    rate = exact_rate(fps)
    arrays = to_arrays(frames, form.top, path.name, 4 if form.has_alpha else 3)
    first = next(arrays)
    try:
        with (
            replacing(path) as partial,
            av.open(
                str(partial), "w", form.muxer, container_options=dict(form.container)
            ) as container,
        ):
            container.metadata.update(as_texts(metadata or {}))
            stream = _open_stream(container, form, rate, first.shape)
            conversion = PixelConversion(stream.pix_fmt)
            for number, array in enumerate(chain([first], arrays)):
                frame = av.VideoFrame.from_ndarray(array, format=form.array_format)
                frame.pts = number
                frame.time_base = 1 / rate
                container.mux(stream.encode(conversion.convert(frame)))
            container.mux(stream.encode())
    except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
        raise VideoFileError(f"{path} cannot be written as {form.codec}: {error}") from error


def _open_stream(container, form: Encoding, rate: Fraction, shape: tuple[int, ...]):
    height, width = shape[:2]
    odd = height % 2 or width % 2
    stream = container.add_stream(form.codec, rate=rate, options=dict(form.options))
    stream.width = width
    stream.height = height
    stream.pix_fmt = form.odd_format if odd and form.odd_format else form.pixel_format
    context = stream.codec_context
    context.thread_count = 0
    context.thread_type = "AUTO"
    if not is_rgb(stream.pix_fmt):
        context.color_range = LIMITED
        context.colorspace = BT709
        context.color_primaries = BT709
        context.color_trc = BT709
    return stream


def write_prores(path: Path, colour: Tensor, alpha: Tensor, fps: float | Fraction) -> None:
    """ProRes 4444 ``.mov`` with alpha of 16 bits.

    Args:
        colour: [N, 3, H, W]; alpha: [N, 1, H, W].
    """
    write_stream(path, with_alpha(colour, alpha), fps, PRORES_4444)


def write_h264(path: Path, colour: Tensor, fps: float | Fraction) -> None:
    """H.264 ``.mp4`` of an opaque layer, [N, 3, H, W]; odd sizes keep full chroma so that none has to be cut."""
    write_stream(path, colour, fps, H264)


def with_alpha(colour: Tensor, alpha: Tensor) -> Iterator[Tensor]:
    """Frame after frame [4, H, W] of [N, 3, H, W] and [N, 1, H, W]."""
    return (torch.cat(planes) for planes in zip(colour, alpha))
