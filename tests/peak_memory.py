"""A bound of memory: says of hostile input that it is refused before it is unpacked."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limit_memory(most: int) -> Iterator[None]:
    """Fails if more bytes than ``most`` are allocated at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes at once, expected fewer than {most}"
