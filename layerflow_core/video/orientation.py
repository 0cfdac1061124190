"""Which way up an image is to be shown."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways an image can lie: first transposed, then mirrored.

    Args:
        transposed: rows become columns.
        left_right, top_bottom: which sides are exchanged after that.
    """

    transposed: bool = False
    left_right: bool = False
    top_bottom: bool = False

    def apply(self, frame: Tensor) -> Tensor:
        """[C, H, W] as it is to be shown."""
        if self.transposed:
            frame = frame.transpose(-2, -1)
        mirrored = [
            axis
            for axis, is_mirrored in ((-1, self.left_right), (-2, self.top_bottom))
            if is_mirrored
        ]
        return frame.flip(mirrored) if mirrored else frame

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as shown."""
        return (width, height) if self.transposed else (height, width)

    def aspect(self, aspect: Fraction) -> Fraction:
        """Width of a pixel through its height, as shown."""
        return 1 / aspect if self.transposed else aspect


UPRIGHT = Orientation()
_EXIF = {  # of the tag Orientation (EXIF 2.32, 4.6.4)
    1: UPRIGHT,
    2: Orientation(left_right=True),
    3: Orientation(left_right=True, top_bottom=True),
    4: Orientation(top_bottom=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, left_right=True),
    7: Orientation(transposed=True, left_right=True, top_bottom=True),
    8: Orientation(transposed=True, top_bottom=True),
}


def from_exif(number: object) -> Orientation:
    """EXIF's 1 to 8; anything else is upright."""
    return _EXIF.get(number, UPRIGHT) if isinstance(number, int) else UPRIGHT


def from_matrix(data: bytes) -> Orientation | None:
    """A display matrix of MP4 (ISO 14496-12, 8.2.2) as ffmpeg hands it out; None if it is no quarter turn.

    Args:
        data: nine numbers of 32 bits, by rows.
    """
    if len(data) != 36:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    size = math.hypot(a, b) or 1
    if abs(b) < size / 1000 and abs(c) < size / 1000 and a and d:
        return Orientation(left_right=a < 0, top_bottom=d < 0)
    if abs(a) < size / 1000 and abs(d) < size / 1000 and b and c:
        return Orientation(transposed=True, left_right=c < 0, top_bottom=b < 0)
    return None


def pixel_aspect(aspect: Fraction | None) -> Fraction:
    """Width of a pixel through its height; 1 where a file says nothing, or what no device has."""
    if not aspect or not Fraction(1, 10) <= aspect <= 10:
        return Fraction(1)
    return Fraction(1) if abs(aspect - 1) < Fraction(1, 200) else Fraction(aspect)
