"""Frame rates: what is meant by a number, and what a file may say."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from .errors import LayerFlowError

SLOWEST, FASTEST = Fraction(1, 1000), Fraction(1000)
"""Frames per second."""

_WRITTEN = re.compile(r"\d{1,9}(\.\d{1,9})?|\d{1,9}/\d{1,9}", re.ASCII)
_LARGEST_DENOMINATOR = 1001  # 24000/1001 and its kin stay exact
_NEAR = Fraction(1, 200)  # how far a rate that was rounded by hand lies from its own


def exact_rate(fps: float | Fraction) -> Fraction:
    """The rational frame rate that is meant: 24000/1001 for 23.976 and 23.98."""
    rate = Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR)
    ntsc = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    return ntsc if rate.denominator > 1 and abs(ntsc - rate) < _NEAR else rate


def read_rate(value: Any, source: str, error_type: type[LayerFlowError]) -> Fraction:
    """A frame rate from outside: a number, or text such as ``24000/1001``.

    Args:
        source: where it stands, for messages.

    Raises:
        error_type: not a rate, or below ``SLOWEST`` or above ``FASTEST``.
    """
    rate = _parse(value)
    if rate is None or not SLOWEST <= rate <= FASTEST:
        shown = ascii(value)[:60]
        raise error_type(
            f"{source}: got the frame rate {shown}, "
            f'expected {float(SLOWEST):g} to {float(FASTEST):g}, as a number or as "24000/1001"'
        )
    return rate


def _parse(value: Any) -> Fraction | None:
    """None for what is no rate; text is bounded before arithmetic sees it."""
    if isinstance(value, str):
        return _parse_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        return None
    if isinstance(value, Fraction):
        return value
    return exact_rate(value) if abs(value) < 1e9 else None  # false for nan, too


def _parse_text(text: str) -> Fraction | None:
    if not _WRITTEN.fullmatch(text):
        return None
    if "/" not in text:
        return exact_rate(Fraction(text))
    above, below = text.split("/")
    return Fraction(int(above), int(below)) if int(below) else None
