"""What reading a video gives."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor


@dataclass(frozen=True)
class Footage:
    """A video that was read.

    Args:
        colour: [N, 3, H, W].
        alpha: [N, 1, H, W], None where the file has none.
        fps: frames per second, exact.
        file_fps: of the file, before any were picked or resampled; None where that is ``fps``.
    """

    colour: Tensor
    alpha: Tensor | None
    fps: Fraction
    file_fps: Fraction | None = None
