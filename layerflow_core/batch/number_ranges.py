"""Numbers as people write them: ``3``, ``10-20``, ``1-4, 9``."""

from __future__ import annotations

import re

from ..errors import BatchError

MOST_NUMBERS = 100_000
_RANGE = re.compile(r"\s*(\d{1,20})\s*(?:-\s*(\d{1,20})\s*)?")


def read_ranges(text: str, what: str) -> list[int]:
    """The numbers of a text, in its order.

    Raises:
        BatchError: no numbers, a range that goes down, or more than ``MOST_NUMBERS``.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else -1
        if last < first or last - first + len(numbers) >= MOST_NUMBERS:
            raise BatchError(
                f"{what}: got {ascii(text)[:80]}, expected numbers such as 3, 10-20 or 1-4,9, "
                f"{MOST_NUMBERS} at most"
            )
        numbers += range(first, last + 1)
    return numbers
