"""Layers shown faster, slower, later, backwards: which frame stands when."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import FrameError


def _held(number: int, count: int) -> int:
    return min(number, count - 1)


def _looped(number: int, count: int) -> int:
    return number % count


def bounce(number: int, count: int) -> int:
    """Frame to show as the ``number``-th of a clip of ``count`` that plays there and back again."""
    period = max(1, 2 * (count - 1))
    return min(number % period, period - number % period)


# What a layer shows once its frames have run out.
ENDINGS: Mapping[str, Callable[[int, int], int]] = {
    "hold": _held,
    "loop": _looped,
    "bounce": bounce,
}


@dataclass(frozen=True)
class Retiming:
    """Which frame of a layer is shown when; the layer keeps its length.

    Args:
        speed: frames of the layer per frame shown; 0.5 is slow motion.
        reverse: from the last frame to the first.
        start: frames the layer begins later; its first frame is shown until then.
        freeze: frame that is held from there on, -1 for none.
        ending: key of ``ENDINGS``.

    Raises:
        FrameError: a value is out of range.
    """

    speed: float = 1.0
    reverse: bool = False
    start: int = 0
    freeze: int = -1
    ending: str = "hold"

    def __post_init__(self) -> None:
        if self.ending not in ENDINGS:
            raise FrameError(
                f"got unknown ending {self.ending!r}, expected one of {', '.join(ENDINGS)}"
            )
        if not (0 <= self.speed < math.inf) or self.start < 0 or self.freeze < -1:
            raise FrameError(f"got {self}, expected a speed and a start of 0 and more")

    def frames(self, count: int) -> list[int]:
        """Frame numbers to show, ``count`` of them."""
        show = ENDINGS[self.ending]
        steps = [max(0, number - self.start) for number in range(count)]
        shown = [show(round(step * self.speed), count) for step in steps]
        if self.reverse:
            shown = [count - 1 - number for number in shown]
        if self.freeze < 0 or self.freeze >= count:
            return shown
        return shown[: self.freeze] + [shown[self.freeze]] * (count - self.freeze)
