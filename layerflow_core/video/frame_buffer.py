"""Where frames of a file are gathered: memory that becomes the result without being copied once more.

Legend: N frames, C channels, H height, W width; 0..1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import VideoFileError
from .allocation import check_room

_GROWTH = 16  # a full buffer grows by one frame in this many, so that little of it is ever empty
_LEAST_GROWTH = 8


class FrameBuffer:
    """Frames one after another into two arrays, colour and alpha.

    Args:
        source: for messages.
        expected: frames that will come, None if nobody knows. More and fewer may come.
        drops_full_alpha: alpha that is 1 everywhere is none, whatever the file type stores.
    """

    def __init__(
        self, source: str, expected: int | None = None, drops_full_alpha: bool = False
    ) -> None:
        self._source = source
        self._expected = max(1, expected or _LEAST_GROWTH)
        self._drops_full_alpha = drops_full_alpha
        self._colour: np.ndarray | None = None
        self._alpha: np.ndarray | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, frame: Tensor) -> None:
        """Append [3 or 4, H, W].

        Raises:
            VideoFileError: another size than the first, or no memory for one more.
        """
        has_alpha = len(frame) == 4 and not (self._drops_full_alpha and bool((frame[3] == 1).all()))
        height, width = frame.shape[-2:]
        if self._colour is None:
            check_room(self._expected, 4 if has_alpha else 3, height, width, self._source)
            self._colour = self._allocate(3, height, width)
        if self._colour.shape[2:] != (height, width):
            raise VideoFileError(
                f"{self._source} holds images of different sizes, expected one size: "
                f"got {self._colour.shape[3]} x {self._colour.shape[2]} and {width} x {height}; "
                "give width and height to bring them to one"
            )
        if has_alpha and self._alpha is None:
            self._begin_alpha(height, width)
        self._make_room()
        self._write(frame, has_alpha)
        self._count += 1

    def finish(self) -> tuple[Tensor, Tensor | None]:
        """Colour [N, 3, H, W] and alpha [N, 1, H, W], None where there is none.

        Raises:
            VideoFileError: no frames.
        """
        if self._colour is None:
            raise VideoFileError(
                f"{self._source} holds no frames, or fewer than the first one picked"
            )
        for array in self._arrays():
            _set_length(array, self._count)
        alpha = None if self._alpha is None else torch.from_numpy(self._alpha)
        return torch.from_numpy(self._colour), alpha

    def _arrays(self) -> list[np.ndarray]:
        return [array for array in (self._colour, self._alpha) if array is not None]

    def _allocate(self, channels: int, height: int, width: int) -> np.ndarray:
        """Not filled: the system gives the memory when it is written to."""
        length = self._expected if self._colour is None else len(self._colour)
        try:
            return np.empty((length, channels, height, width), np.float32)
        except (MemoryError, ValueError) as error:
            raise VideoFileError(
                f"{self._source}: no memory for {length} frames of {width} x {height}"
            ) from error

    def _begin_alpha(self, height: int, width: int) -> None:
        check_room(len(self._colour), 1, height, width, self._source)
        self._alpha = self._allocate(1, height, width)
        self._alpha[: self._count] = 1

    def _make_room(self) -> None:
        if self._count < len(self._colour):
            return
        more = max(_LEAST_GROWTH, self._count // _GROWTH)
        channels = 3 if self._alpha is None else 4
        check_room(
            more, channels, *self._colour.shape[2:], f"{self._source}, after {self._count} frames"
        )
        for array in self._arrays():
            _set_length(array, self._count + more)

    def _write(self, frame: Tensor, has_alpha: bool) -> None:
        self._colour[self._count] = frame[:3].numpy()
        if self._alpha is not None:
            self._alpha[self._count] = frame[3:].numpy() if has_alpha else 1


def _set_length(array: np.ndarray, length: int) -> None:
    """In place: the system moves pages of large blocks instead of copying them. No view of the array is alive."""
    if len(array) != length:
        array.resize((length, *array.shape[1:]), refcheck=False)
