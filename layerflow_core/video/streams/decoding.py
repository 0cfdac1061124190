"""A stream's packets to frames with their times; damage is reported, not guessed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from ..damage import Damage
from ..timeline import Timed

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders drop alpha
_STRICT = {"err_detect": "explode"}  # a damaged frame is an error
_MATROSKA_DURATION = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_EARLY_END = Fraction(1, 4)  # seconds; more than any writer's last frame is off
_MICROSECONDS = 1_000_000


class StreamDecoder:
    """Decodes one stream from its beginning.

    Threads work within frames only: with several frames at once ffmpeg loses all of them at a fault of one.

    Args:
        damage: is told of faults.
    """

    def __init__(self, container, stream, damage: Damage) -> None:
        self._container = container
        self._stream = stream
        self._damage = damage
        self._is_open_group = False
        self._end: Fraction | None = None
        self.is_foreign = False
        """Whether the decoder is not the container's own one, which alone is told the display matrix."""
        self._decoder = self._open()

    def _open(self):
        import av

        context = self._stream.codec_context
        name = _ALPHA_DECODERS.get(context.name)
        if name and _tag(self._stream, "alpha_mode") == "1":
            decoder = av.CodecContext.create(name, "r")
            decoder.extradata = context.extradata
            self.is_foreign = True
            return decoder
        context.options = dict(_STRICT)
        context.thread_type = "SLICE"
        return context

    def frames(self) -> Iterator[Timed]:
        """All frames with their times."""
        for packet in self._packets():
            for frame in self._decode(packet):
                timed = self._timed(frame)
                if timed.time is not None:
                    self._end = timed.time + (timed.duration or 0)
                yield timed
        self._check_end()

    def _decode(self, packet) -> list:
        import av

        try:
            return self._decoder.decode(packet)
        except av.EOFError:
            return []
        except av.FFmpegError as error:
            if not self._is_open_group or self._end is not None:
                self._damage.meet(f"a frame cannot be decoded ({error.strerror})", error)
            return []

    def _packets(self) -> Iterator:
        """All packets, and None in the end to empty the decoder.

        Frames that are shown before the first one decoded build upon others that were cut off ("open GOP"). Players
        leave them out, and so does this.
        """
        import av

        first = None
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    self._damage.meet("it ends within a frame, or a checksum is wrong")
                if not packet.size:
                    continue
                if first is not None and _is_leading(packet, first):
                    self._is_open_group = True
                    continue
                if first is None:
                    first = packet.pts
                yield packet
        except av.FFmpegError as error:
            self._damage.meet(f"it cannot be read further ({error.strerror})", error)
        yield None

    def _timed(self, frame) -> Timed:
        if frame.is_corrupt:
            self._damage.meet("a frame lacks what it builds upon")
        base = frame.time_base or self._stream.time_base
        if not base:
            return Timed(frame)
        time = None if frame.pts is None else frame.pts * base
        duration = getattr(frame, "duration", None)
        return Timed(frame, time, duration * base if duration else None)

    def _check_end(self) -> None:
        """Whether the last frame ends where the file says that the stream does."""
        length = length_of(self._container, self._stream)
        if length is None or self._end is None:
            return
        start = self._stream.start_time or 0
        begin = (
            start * self._stream.time_base
            if self._stream.duration and self._stream.time_base
            else Fraction(0)
        )
        rate = self._stream.average_rate or 1
        missing = begin + length - self._end
        if missing > max(_EARLY_END, 3 / Fraction(rate)):
            self._damage.meet(
                f"it lacks the last {float(missing):.2f} of {float(length):.2f} seconds"
            )


def _is_leading(packet, first: int) -> bool:
    if packet.pts is None:
        return packet.dts is None
    return packet.pts < first


def _tag(stream, name: str) -> str:
    """A stream's tag by its name in lower case; writers differ ("alpha_mode", "ALPHA_MODE"). '' where there is none."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return tags.get(name, "")


def length_of(container, stream) -> Fraction | None:
    """Seconds of a stream; None where a file does not say (its own length may be that of a longer sound)."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    match = _MATROSKA_DURATION.match(_tag(stream, "duration"))
    if match:
        hours, minutes, seconds = (Fraction(part) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, _MICROSECONDS)
    return None
