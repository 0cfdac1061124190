"""Ways to damage bytes, whatever they mean.

Every one is a function (data, random numbers) -> data; the same numbers damage alike.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]


def flip_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(min(len(data), rng.choice((1, 2, 8, 40)))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_early(data: bytes, rng: random.Random) -> bytes:
    """Heads say more than what follows them."""
    return flip_bytes(data[:200], rng) + data[200:]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.choice((1, 4, 100))) + data[place:]


def swap_blocks(data: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeat_block(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:b] + data[a:b][:10_000] * rng.randrange(1, 20) + data[b:]


def zero_run(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    length = min(len(data) - place, rng.choice((4, 16, 200)))
    return data[:place] + bytes(length) + data[place + length :]


def edit_length(data: bytes, rng: random.Random) -> bytes:
    """A number of four bytes becomes an extreme one."""
    if len(data) < 4:
        return data
    place = rng.randrange(len(data) - 3)
    value = rng.choice((0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1))
    order = rng.choice("<>")
    return data[:place] + struct.pack(f"{order}I", value) + data[place + 4 :]


ANYWHERE: tuple[Mutation, ...] = (
    flip_bytes,
    flip_early,
    truncate,
    insert,
    swap_blocks,
    repeat_block,
    zero_run,
    edit_length,
)
