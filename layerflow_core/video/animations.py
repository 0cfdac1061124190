"""Animated WebP and PNG in, through Pillow: ffmpeg reads the first without motion.

Legend: C channels, H height, W width; 0..1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import VideoFileError
from ..rates import FASTEST, SLOWEST, exact_rate
from .allocation import check_room
from .completeness import find_cut
from .damage import Damage
from .footage import Footage
from .frame_buffer import FrameBuffer
from .frame_selection import ALL, FrameSelection
from .image_files import open_image, pillow_errors
from .listing import open_binary
from .pixels import from_array
from .png import is_deep_png
from .still import read_facts
from .stills import HEAD
from .streams.reading import read_stream
from .timeline import Timed, Timeline
from .webp import whole_chunks

_log = logging.getLogger(__name__)
_MS = 1000


def read_if_moving(path: Path, default_rate: Fraction, selection: FrameSelection) -> Footage | None:
    """An image file that may be an animation, None where it is one image; as ``read_animation``."""
    if not moves(path):
        return None
    with open_binary(path) as file:
        head = file.read(HEAD)
    if is_deep_png(head):
        return read_stream(path, default_rate, selection, "apng")
    return read_animation(path, default_rate, selection)


def moves(path: Path) -> bool:
    """Whether an image file holds more than one frame; False for what Pillow does not read, which others refuse."""
    try:
        with _open(path, ALL, find_cut(path) is not None) as image:
            return getattr(image, "n_frames", 1) > 1
    except VideoFileError:
        return False


def read_animation(path: Path, default_rate: Fraction, selection: FrameSelection) -> Footage:
    """Read an animation with the delays it has.

    Args:
        default_rate: of a file without delays.

    Raises:
        VideoFileError: damaged, more than fits into memory, or too short for what is picked.
    """
    damage = Damage(path, selection.keep_what_is_there)
    cut = find_cut(path)
    if cut:
        damage.meet(cut)
    with _open(path, selection, bool(cut)) as image:
        return _Animation(path, image, selection, damage).read(default_rate)


def _open(path: Path, selection: FrameSelection, is_cut: bool):
    """The file, or of a WebP that was cut the chunks that are whole, which alone is what libwebp takes."""
    if not is_cut:
        return open_image(path, selection)
    data = path.read_bytes()
    return open_image(path, selection, whole_chunks(data) if data[:4] == b"RIFF" else None)


class _Animation:
    def __init__(self, path: Path, image, selection: FrameSelection, damage: Damage) -> None:
        self._path = path
        self._image = image
        self._selection = selection
        self._damage = damage
        # A PNG's stand-in is no frame.
        self._first = 1 if getattr(image, "default_image", False) else 0
        self._count = image.n_frames - self._first
        self._durations: list[float] = []

    def read(self, default_rate: Fraction) -> Footage:
        facts = read_facts(self._image)
        for remark in facts.remarks:
            _log.warning("%s: %s", self._path, remark)
        kept = len(self._selection.numbers(0, self._count)) if not self._selection.fps else 0
        width, height = self._image.size
        height, width = self._selection.size_of(
            *facts.orientation.size(height, width), facts.orientation.aspect(facts.aspect)
        )
        check_room(max(1, kept), 3, height, width, str(self._path))
        buffer = FrameBuffer(str(self._path), kept or None, drops_full_alpha=True)
        timeline = Timeline(self._selection, default_rate, tells_durations=True)
        for frame, times in timeline.kept(self._frames()):
            upright = facts.orientation.apply(from_array(frame))
            sized = self._selection.sized(upright, facts.orientation.aspect(facts.aspect))
            for _ in range(times):
                buffer.add(sized)
        return self._finish(buffer, timeline, default_rate)

    def _finish(self, buffer: FrameBuffer, timeline: Timeline, default_rate: Fraction) -> Footage:
        colour, alpha = buffer.finish()
        self._damage.warn(len(colour))
        rate = meant_rate(self._durations) or default_rate
        timeline.warn_if_uneven(self._path, rate)
        return Footage(colour, alpha, self._selection.rate(rate), rate)

    def _frames(self) -> Iterator[Timed]:
        """All frames [H, W, 4] of bytes with their times."""
        time = Fraction(0)
        for number in range(self._first, self._first + self._count):
            try:
                with pillow_errors(self._path):
                    self._image.seek(number)
                    array = np.asarray(self._image.convert("RGBA"))
            except VideoFileError as error:
                self._damage.meet(
                    f"frame {number - self._first} of {self._count} cannot be read", error
                )
                return
            duration = self._duration()
            self._durations.append(float(duration * _MS))
            yield Timed(array, time if duration else None, duration or None)
            time += duration

    def _duration(self) -> Fraction:
        """Seconds that the frame is shown; 0 if it does not say."""
        told = self._image.info.get("duration", 0)
        try:
            return max(Fraction(0), Fraction(told).limit_denominator(1_000_000) / _MS)
        except (TypeError, ValueError, ArithmeticError):
            return Fraction(0)


def meant_rate(durations: list[float]) -> Fraction | None:
    """Frames per second of frames of these durations in milliseconds; files may have rounded them to whole ones."""
    whole = sum(durations)
    if not whole:
        return None
    rate = Fraction(_MS * len(durations)) / Fraction(whole)
    if not SLOWEST <= rate <= FASTEST:
        return None
    near = max(round(rate), 1)
    is_near = abs(_MS * len(durations) / near - whole) <= 0.5
    return Fraction(near) if is_near else exact_rate(rate)
