"""The one place where PyAV opens a file from outside: only as what the lists here name, and nothing beside it.

Playlists, scripts of joined files, subtitles, capture devices and the network stay closed, whatever a file's name or
content asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import VideoFileError
from ..listing import check_regular

DEMUXERS = (
    "mov",
    "matroska",
    "avi",
    "gif",
    "apng",
    "mpegts",
    "mpeg",
    "mpegvideo",
    "flv",
    "ogg",
    "asf",
    "mxf",
    "ivf",
    "yuv4mpegpipe",
)
"""ffmpeg's names of the containers that are opened."""

STILLS = ("png_pipe", "tiff_pipe")
"""Of images of 16 bits, which Pillow would cut to 8."""

_ATTACHED_IMAGE = 0x400  # ffmpeg's disposition of a cover image


@contextmanager
def pyav_errors(path: Path, what: str = "a video") -> Iterator[None]:
    """What PyAV raises of damaged files becomes a VideoFileError.

    No call back into the caller happens in PyAV's readers, so no cancel can pass here.
    """
    import av

    known = (
        av.FFmpegError,
        ValueError,
        LookupError,
        ArithmeticError,
        MemoryError,
        OSError,
        RuntimeError,
    )
    try:
        yield
    except known as error:
        reason = str(error) or type(error).__name__
        raise VideoFileError(
            f"{path} cannot be read as {what} ({reason}); is it complete?"
        ) from error


@contextmanager
def open_container(path: Path, form: str | None = None) -> Iterator:
    """An ``av.container.InputContainer`` of a regular file.

    Args:
        form: of ``DEMUXERS`` or ``STILLS``; None to find out, among the first.

    Raises:
        VideoFileError: it is none of these, or damaged.
    """
    import av

    check_regular(path)
    # Not ``options``: with those PyAV 14 crashes on containers that name their streams late.
    options = {"format_whitelist": form or ",".join(DEMUXERS), "protocol_whitelist": "file"}
    try:
        container = av.open(
            f"file:{path}", format=form, container_options=options, metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError) as error:
        expected = form or ", ".join(DEMUXERS)
        reason = getattr(error, "strerror", None) or error
        raise VideoFileError(
            f"{path} cannot be read as a video ({reason}), expected one of {expected}; is it complete?"
        ) from error
    with container:
        yield container


def first_video(container, path: Path):
    """The first stream that is a video, not a cover image; raises VideoFileError if there is none to decode."""
    videos = [stream for stream in container.streams.video if not _is_cover(stream)]
    streams = videos or list(container.streams.video)
    if not streams:
        raise VideoFileError(f"{path} holds no video stream")
    if streams[0].codec_context is None:
        raise VideoFileError(
            f"{path} holds a video of a codec that this ffmpeg does not know; convert it to H.264 or ProRes"
        )
    return streams[0]


def _is_cover(stream) -> bool:
    disposition = getattr(stream, "disposition", 0)
    return bool(int(getattr(disposition, "value", disposition)) & _ATTACHED_IMAGE)
