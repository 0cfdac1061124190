"""What is wanted of a file: which frames, how large, and how its colours are to be taken.

Legend: C channels, H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import FrameError
from ..rates import read_rate
from ..rgba import unpremultiply
from .allocation import check_room
from .frames import resize, resize_layer

T = TypeVar("T")

AUTO = "auto"
BT601 = "BT.601"
BT709 = "BT.709"
COLOURS = (AUTO, BT601, BT709)
"""Matrices that YUV video may be taken to have. ``auto`` is what the file says, and for one that says nothing BT.709
from 720 lines on and BT.601 below, as players do."""


@dataclass(frozen=True)
class FrameSelection:
    """What is wanted of a file; every reader takes one.

    Args:
        start: first frame.
        every: N keeps every N-th of these.
        count: frames at most, 0 for all.
        width, height: to be resized to, 0 for as they are; one alone keeps the aspect.
        fps: rate to resample to by the frames' own times, 0 for all frames as they come. ``start``, ``every`` and
            ``count`` are of the resampled frames. Images that have no rate of their own get this one.
        colours: of ``COLOURS``: which matrix YUV video has, whatever it says.
        keep_what_is_there: of a damaged or truncated file keep the frames that can be read, with a warning.
        premultiplied: the file's colour is multiplied by its alpha; it is made straight. What the file itself says
            about that is honoured without this.

    Raises:
        FrameError: a number outside its range, or unknown colours.
    """

    start: int = 0
    every: int = 1
    count: int = 0
    width: int = 0
    height: int = 0
    fps: float | Fraction = 0
    colours: str = AUTO
    keep_what_is_there: bool = False
    premultiplied: bool = False

    def __post_init__(self) -> None:
        least = min(self.start, self.count, self.width, self.height)
        if least < 0 or self.every < 1:
            raise FrameError(f"got {self}, expected numbers of 0 and more, and every of 1 and more")
        if self.colours not in COLOURS:
            raise FrameError(
                f"got the colours {self.colours!r}, expected one of {', '.join(COLOURS)}"
            )
        if self.fps:
            object.__setattr__(self, "fps", read_rate(self.fps, "fps to resample to", FrameError))

    @property
    def end(self) -> int | None:
        """The number behind the last frame that may be picked; None if there is none."""
        return self.start + self.every * (self.count - 1) + 1 if self.count else None

    def numbers(self, first: int, beyond: int) -> range:
        """Of the frames ``first`` to ``beyond - 1`` those that are picked."""
        skipped = max(0, first - self.start)
        begin = self.start + -(-skipped // self.every) * self.every
        stop = beyond if self.end is None else min(beyond, self.end)
        return range(begin, max(begin, stop), self.every)

    def of(self, items: Iterable[T], rate: Fraction | None = None) -> Iterator[T]:
        """Of all frames, or what stands for them, those that are kept.

        Args:
            rate: of the items; with it they are resampled to ``fps``.
        """
        if rate is None or not self.fps:
            stop = self.start + self.every * self.count if self.count else None
            return islice(items, self.start, stop, self.every)
        return self._resampled(items, Fraction(rate))

    def _resampled(self, items: Iterable[T], rate: Fraction) -> Iterator[T]:
        for number, item in enumerate(items):
            first = -(-number * self.fps // rate)
            beyond = -(-(number + 1) * self.fps // rate)
            if self.end is not None and first >= self.end:
                return
            for _ in self.numbers(int(first), int(beyond)):
                yield item

    def frames(self, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        """Of all frames [C, H, W], in order, those that are kept, in their size."""
        return map(self.sized, self.of(frames))

    def rate(self, fps: Fraction) -> Fraction:
        """What is left of a frame rate."""
        return Fraction(self.fps or fps) / self.every

    def size_of(self, height: int, width: int, aspect: Fraction = Fraction(1)) -> tuple[int, int]:
        """Height and width that frames of a size get.

        Args:
            aspect: width of a pixel through its height. Pixels become square, by enlarging the side that is too
                short, as players and compositors show them.
        """
        if not (self.width or self.height):
            if aspect >= 1:
                return height, max(1, round(width * aspect))
            return max(1, round(height / aspect)), width
        shape = aspect * width / height
        return (
            self.height or max(1, round(self.width / shape)),
            self.width or max(1, round(self.height * shape)),
        )

    def sized(self, frame: Tensor, aspect: Fraction = Fraction(1)) -> Tensor:
        """[C, H, W] of a file, straight and in the size that ``size_of`` says.

        Raises:
            VideoFileError: that does not fit into memory.
        """
        if self.premultiplied and len(frame) == 4:
            frame = torch.cat([unpremultiply(frame[:3], frame[3:]), frame[3:]])
        size = self.size_of(*frame.shape[-2:], aspect)
        if size == tuple(frame.shape[-2:]):
            return frame
        check_room(1, 2 * len(frame), *size, "a frame to be resized")
        colour = frame[None, :3]
        alpha = frame[None, 3:]
        if len(frame) == 3:
            return resize(colour, *size)[0]
        return torch.cat(resize_layer(colour, alpha, *size), 1)[0]


ALL = FrameSelection()
