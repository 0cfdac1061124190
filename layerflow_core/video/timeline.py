"""When the frames of a file are shown: picks, resampling by time stamps, and rates that vary.

Legend: times in seconds, rates in frames per second.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

from ..rates import FASTEST, SLOWEST
from .frame_selection import FrameSelection

_log = logging.getLogger(__name__)

_COARSEST_TICK = 0.0022  # Matroska's times are rounded to ms, so two of them may lie this much off
_SLACK = Fraction(_COARSEST_TICK) / 2
_TOLERANCE = 0.1  # of the usual interval


@dataclass(frozen=True)
class Timed:
    """A frame and its times.

    Args:
        frame: whatever stands for it.
        time: when it is shown; None if the file does not say.
        duration: for how long; None or 0 if the file does not say.
    """

    frame: Any
    time: Fraction | None = None
    duration: Fraction | None = None


class Timeline:
    """Goes through frames once and says which of them are kept.

    Args:
        selection: of these frames.
        rate: of the file, which stands in where frames have no times.
        tells_durations: the last frame's duration counts like the others'.
    """

    def __init__(
        self, selection: FrameSelection, rate: Fraction, tells_durations: bool = False
    ) -> None:
        self._selection = selection
        self._step = 1 / rate
        self._tells_durations = tells_durations
        self._intervals: list[float] = []

    def kept(self, frames: Iterable[Timed]) -> Iterator[tuple[Any, int]]:
        """Kept frames, and how many times each is shown; what lies behind the last one is not looked at."""
        if self._selection.fps:
            yield from self._resampled(frames)
        else:
            yield from self._as_they_come(frames)

    def _as_they_come(self, frames: Iterable[Timed]) -> Iterator[tuple[Any, int]]:
        for number, (_, frame, _) in enumerate(self._timed(frames)):
            if self._selection.numbers(number, number + 1):
                yield frame, 1
            if self._selection.end is not None and number + 1 >= self._selection.end:
                return

    def _resampled(self, frames: Iterable[Timed]) -> Iterator[tuple[Any, int]]:
        """Each frame of the new rate is the one that is shown at its time."""
        origin = None
        held = None
        for time, frame, duration in self._timed(frames):
            if origin is None:
                origin = time
            if held is not None:
                yield from self._shown(held[1], held[0] - origin, time - origin)
                if self._is_beyond(time - origin):
                    return
            held = (time, frame, duration)
        if held is not None:
            time, frame, duration = held
            # Writers that do not know how long the last frame lasts give it a tick, in which it is shown all the same.
            slack = min(_SLACK, duration / 2)
            yield from self._shown(frame, time - origin, time - origin + duration, slack)

    def _shown(
        self,
        frame: Any,
        begin: Fraction,
        end: Fraction,
        slack: Fraction = _SLACK,
    ) -> Iterator[tuple[Any, int]]:
        times = len(self._selection.numbers(self._number_at(begin), self._number_at(end, slack)))
        if times:
            yield frame, times

    def _number_at(self, time: Fraction, slack: Fraction = _SLACK) -> int:
        """The first frame of the new rate at or after a time; times a little late are on time."""
        exact = (time - slack) * self._selection.fps
        return max(0, -int(-exact // 1))

    def _is_beyond(self, time: Fraction) -> bool:
        return self._selection.end is not None and self._number_at(time) >= self._selection.end

    def _timed(self, frames: Iterable[Timed]) -> Iterator[tuple[Fraction, Any, Fraction]]:
        """Time, frame and duration of each; times never stand still or go back."""
        last = None
        interval = self._step
        for timed in frames:
            time = timed.time
            if last is None:
                time = Fraction(0) if time is None else time
            elif time is None or time <= last:
                time = last + self._step
            else:
                self._intervals.append(float(time - last))
                interval = time - last
            duration = timed.duration
            yield (
                time,
                timed.frame,
                duration or interval,
            )  # before PyAV 15 no frame tells its duration
            last = time
        if last is not None and duration and self._tells_durations:
            self._intervals.append(float(duration))

    @property
    def extremes(self) -> tuple[float, float] | None:
        """Slowest and fastest rate if the frames come unevenly; None if they come evenly."""
        if len(self._intervals) < 2:
            return None
        usual = median(self._intervals)
        allowed = max(_COARSEST_TICK, usual * _TOLERANCE)
        shortest = min(self._intervals)
        longest = max(self._intervals)
        if longest - usual <= allowed and usual - shortest <= allowed:
            return None
        return 1 / longest, 1 / shortest

    def measured_rate(self) -> Fraction | None:
        """Frames per second over all that was seen; None for fewer than two."""
        if not self._intervals:
            return None
        rate = Fraction(len(self._intervals)) / Fraction(sum(self._intervals))
        return rate.limit_denominator(1001) if SLOWEST <= rate <= FASTEST else None

    def warn_if_uneven(self, source: object, rate: Fraction) -> None:
        """Say once that the rate varies, unless frames were resampled."""
        if self._selection.fps or self.extremes is None:
            return
        slowest, fastest = self.extremes
        _log.warning(
            "%s: its frames come at varying rates, from %.4g to %.4g a second, and are read as if they came at %.4g; "
            "set fps to resample them by their times",
            source,
            slowest,
            fastest,
            float(rate),
        )
