"""Streams in, through PyAV: frames upright, with square pixels, in RGB, straight alpha.

Legend: C channels (3, or 4 with alpha), H height, W width; 0..1.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from ...errors import VideoFileError
from ...rates import FASTEST, SLOWEST, exact_rate
from ..allocation import check_room
from ..completeness import find_cut
from ..damage import Damage
from ..footage import Footage
from ..frame_buffer import FrameBuffer
from ..frame_selection import FrameSelection
from ..orientation import UPRIGHT, Orientation, from_matrix, pixel_aspect
from ..pixels import from_array
from ..timeline import Timeline
from .colour_tags import tags_of
from .containers import first_video, open_container, pyav_errors
from .decoding import StreamDecoder, length_of
from .pixel_conversion import PixelConversion

_log = logging.getLogger(__name__)
_RATE_TOLERANCE = 0.05  # times in ms are as coarse as that at 60 frames per second
_OPAQUE_UNLESS_SEEN = {"gif", "apng"}  # codecs whose images always come with alpha


def read_stream(
    path: Path, default_rate: Fraction, selection: FrameSelection, form: str | None = None
) -> Footage:
    """Read the first video stream of a file.

    What the file says of itself is honoured: display matrix, pixel aspect, matrix, range, transfer, times. Pixels that
    are not square are resampled to square ones, by enlarging the side that is too short, which is what players show
    and what compositors expect of a plate without further notes.

    Args:
        default_rate: of a file that names none.
        form: of ``containers.DEMUXERS``; None to find out.

    Raises:
        VideoFileError: no video, damaged, more than fits into memory, or too short for what is picked.
    """
    damage = Damage(path, selection.keep_what_is_there)
    cut = find_cut(path)
    if cut:
        damage.meet(cut)
    with pyav_errors(path), open_container(path, form) as container:
        reader = _StreamReader(path, container, first_video(container, path), selection, damage)
        footage = reader.read(default_rate)
    damage.warn(len(footage.colour))
    return footage


class _StreamReader:
    def __init__(
        self, path: Path, container, stream, selection: FrameSelection, damage: Damage
    ) -> None:
        self._path = path
        self._container = container
        self._stream = stream
        self._selection = selection
        self._damage = damage
        self._orientation: Orientation | None = None
        self._conversion: PixelConversion | None = None
        self._aspect = pixel_aspect(stream.sample_aspect_ratio)
        self._decoder = StreamDecoder(container, stream, damage)
        if self._decoder.is_foreign:
            self._orientation = _probe_orientation(path)

    def read(self, default_rate: Fraction) -> Footage:
        rate = self._named_rate()
        timeline = Timeline(self._selection, rate or default_rate)
        has_formal_alpha = self._stream.codec_context.name in _OPAQUE_UNLESS_SEEN
        buffer = FrameBuffer(str(self._path), self._expect(rate), drops_full_alpha=has_formal_alpha)
        for frame, times in timeline.kept(self._decoder.frames()):
            image = self._image(frame)
            for _ in range(times):
                buffer.add(image)
        colour, alpha = buffer.finish()
        rate = self._seen_rate(rate, timeline) or default_rate
        if not self._damage.was_met:
            timeline.warn_if_uneven(self._path, rate)
        return Footage(colour, alpha, self._selection.rate(rate), rate)

    def _named_rate(self) -> Fraction | None:
        for rate in (self._stream.average_rate, self._stream.guessed_rate):
            if rate and SLOWEST <= rate <= FASTEST:
                # Matroska's is made of nanoseconds: 19001/317 for 60000/1001.
                return exact_rate(rate)
        return None

    def _seen_rate(self, named: Fraction | None, timeline: Timeline) -> Fraction | None:
        """The rate at which frames came, where that is another one than the file's average.

        An average is misled by a last frame that lasts a tick, or for ever.
        """
        measured = timeline.measured_rate()
        if named is None or measured is None or timeline.extremes is not None:
            return named or measured
        for rate in (named, self._stream.guessed_rate):
            if rate and abs(measured / rate - 1) <= _RATE_TOLERANCE:
                return exact_rate(rate)
        return exact_rate(measured)

    def _expect(self, rate: Fraction | None) -> int | None:
        """Frames that will be kept, None if nobody knows; refuses what will not fit before any is decoded."""
        total = self._length(rate)
        if total is None:
            known = self._selection.count > 0
            return len(self._selection.numbers(0, self._selection.end)) if known else None
        kept = len(self._selection.numbers(0, total))
        context = self._stream.codec_context
        if context.height and context.width:
            height, width = self._selection.size_of(context.height, context.width, self._aspect)
            check_room(max(1, kept), 3, height, width, str(self._path))
        return kept

    def _length(self, rate: Fraction | None) -> int | None:
        """Frames, at the rate that is asked for, by what the file says."""
        seconds = length_of(self._container, self._stream)
        if self._selection.fps:
            return None if seconds is None else int(seconds * self._selection.fps) + 1
        if self._stream.frames:
            return self._stream.frames
        return None if seconds is None or rate is None else int(seconds * rate) + 1

    def _image(self, frame) -> Tensor:
        """[C, H, W] as it is to be shown."""
        if self._conversion is None:
            self._begin(frame)
        image = read_pixels(self._conversion, frame)
        image = self._orientation.apply(image)
        return self._selection.sized(image, self._orientation.aspect(self._aspect))

    def _begin(self, frame) -> None:
        """Take from the first frame what holds for all, and say what of it is not honoured."""
        tags = tags_of(frame, self._stream.codec_context, self._selection.colours)
        self._conversion = PixelConversion(array_format(frame.format), tags)
        self._conversion.prepare(frame)
        if self._orientation is None:
            self._orientation = _orientation_of(frame, self._path)
        if self._conversion.problem:
            _log.warning(
                "%s: its colours are wrong: it has %s, which this ffmpeg cannot convert, and is taken for BT.709; "
                "convert it to SDR BT.709 first, or install a newer PyAV",
                self._path,
                self._conversion.problem,
            )
        if frame.interlaced_frame:
            _log.warning(
                "%s is interlaced, and its two fields are read as one frame; deinterlace it first",
                self._path,
            )


def _probe_orientation(path: Path) -> Orientation:
    """By ffmpeg's own decoder, which the file's display matrix reaches."""
    with open_container(path) as container:
        for frame in container.decode(first_video(container, path)):
            return _orientation_of(frame, path)
    return UPRIGHT


def _orientation_of(frame, path: Path) -> Orientation:
    for data in frame.side_data:
        if data.type.name != "DISPLAYMATRIX":
            continue
        orientation = from_matrix(bytes(data))
        if orientation is None:
            _log.warning(
                "%s is to be shown turned by %s degrees, which is not done; it is read lying",
                path,
                frame.rotation,
            )
        return orientation or UPRIGHT
    return UPRIGHT


def array_format(pixel_format) -> str:
    """Frames of 8 bits are read as such: on the way to 16 ffmpeg's scaler would round all of them down."""
    has_alpha = any(component.is_alpha for component in pixel_format.components)
    is_deep = max(component.bits for component in pixel_format.components) > 8
    if is_deep:
        return "rgba64le" if has_alpha else "rgb48le"
    return "rgba" if has_alpha else "rgb24"


def read_pixels(conversion: PixelConversion, frame) -> Tensor:
    """[C, H, W] of a decoded frame."""
    array = conversion.convert(frame).to_ndarray()
    is_deep = array.dtype == np.uint16
    return from_array(array, conversion.whites if is_deep else None)


def read_deep_still(path: Path, form: str) -> Tensor:
    """An image of 16 bits, [C, H, W], as it lies in the file.

    Args:
        form: of ``containers.STILLS``.

    Raises:
        VideoFileError: damaged, or too large.
    """
    with pyav_errors(path, "an image"), open_container(path, form) as container:
        stream = first_video(container, path)
        check_room(1, 6, stream.codec_context.height, stream.codec_context.width, str(path))
        for frame in container.decode(stream):
            return read_pixels(PixelConversion(array_format(frame.format)), frame)
    raise VideoFileError(
        f"{path} cannot be read as an image: nothing in it can be decoded; is it complete?"
    )
