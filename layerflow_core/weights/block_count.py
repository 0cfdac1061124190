"""How many numbered blocks the keys of a file speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import CheckpointError

_LONGEST_NUMBER = 6  # digits


def count_blocks(keys: Iterable[str], numbered: str) -> int:
    """How many blocks there are, numbered from 0 without a gap.

    Args:
        numbered: pattern of a key's beginning; its first group is the number.

    Raises:
        CheckpointError: a number is missing, so that no file could be whole.
    """
    found = {match[1]: match[0] for key in keys if (match := re.match(numbered, key))}
    longest = max(found, key=len, default="")
    if len(longest) > _LONGEST_NUMBER:
        raise CheckpointError(
            f"got a block of number {longest[:20]}, expected blocks numbered from 0: the file is damaged"
        )
    numbers = {int(number): start for number, start in found.items()}
    expected = set(range(len(numbers)))
    if numbers.keys() != expected:
        stray = max(numbers.keys() - expected)
        first = min(expected - numbers.keys())
        missing = numbers[stray].replace(str(stray), str(first))
        raise CheckpointError(
            f"got {numbers[stray]} and nothing of {missing}, expected blocks numbered from 0 without a gap: "
            "the file is damaged or incomplete"
        )
    return len(numbers)
