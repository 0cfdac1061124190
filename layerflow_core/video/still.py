"""One image that was read, and what a file says of it.

Legend: C channels (3, or 4 with alpha), H height, W width; 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from torch import Tensor

from .orientation import UPRIGHT, Orientation, from_exif, pixel_aspect

_EXIF_ORIENTATION = 0x0112
_SRGB_GAMMA = 0.45455  # as PNG's gAMA has it
_GAMMA_TOLERANCE = 0.02


@dataclass(frozen=True)
class Still:
    """An image that was read.

    Args:
        frame: [C, H, W], upright.
        aspect: width of a pixel through its height.
        remarks: what the file says of itself and is not honoured.
    """

    frame: Tensor
    aspect: Fraction = Fraction(1)
    remarks: tuple[str, ...] = ()


@dataclass
class Facts:
    """What a file says of itself, before its pixels are read."""

    orientation: Orientation = UPRIGHT
    aspect: Fraction = Fraction(1)
    remarks: list[str] = field(default_factory=list)

    def still_of(self, frame: Tensor) -> Still:
        """An image [C, H, W] as it lies in the file, made upright."""
        upright = self.orientation.apply(frame)
        return Still(upright, self.orientation.aspect(self.aspect), tuple(self.remarks))


def read_facts(image) -> Facts:
    """Orientation, pixel aspect and what cannot be honoured of a ``PIL.Image.Image``."""
    facts = Facts()
    facts.orientation = from_exif(image.getexif().get(_EXIF_ORIENTATION))
    facts.aspect = _aspect_of(image.info)
    gamma = image.info.get("gamma")
    is_told_better = "srgb" in image.info or "icc_profile" in image.info
    if gamma and not is_told_better and abs(gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
        facts.remarks.append(
            f"its gamma of {gamma:.4g} is not applied, and its colours are taken for sRGB"
        )
    if image.mode == "CMYK" and not image.info.get("icc_profile"):
        facts.remarks.append("its CMYK colours have no profile, and are converted roughly")
    return facts


def _aspect_of(info: dict) -> Fraction:
    """By pixels per length, which files give for both axes: the more of them, the shorter the pixel."""
    density = info.get("aspect") or info.get("dpi") or info.get("jfif_density")
    try:
        across, down = (Fraction(float(number)).limit_denominator(10000) for number in density)
        return pixel_aspect(down / across)
    except (TypeError, ValueError, ArithmeticError):
        return Fraction(1)
