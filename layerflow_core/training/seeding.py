"""Randomness that depends on numbers alone: the same seed, step and sample, the same draw, in whichever process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def mix_seed(*numbers: int) -> int:
    """One seed from several numbers, below 2^63."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big") >> 1


def pick_weighted(weights: Iterable[float], generator: torch.Generator) -> int:
    """The number of one of the weights, drawn as often as it weighs."""
    return int(torch.multinomial(torch.tensor(list(weights)), 1, generator=generator))


def draw_samples(
    draw_one: Callable[[torch.Generator], tuple[Tensor, ...]], seed: int, step: int, samples: range
) -> Iterator[Tensor]:
    """Samples of a step by their number in the whole batch, each from a generator of its own; every column [B, ...]."""
    drawn = [
        draw_one(torch.Generator().manual_seed(mix_seed(seed, step, number))) for number in samples
    ]
    return (torch.stack(column) for column in zip(*drawn))
