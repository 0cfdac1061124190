"""Randomness of a run: everything comes from one seed, drawn on the CPU, whatever the device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SamplingError

LARGEST_SEED = 2**64 - 1
"""As ComfyUI's own samplers take them."""

_HALF = 2**63
# Streams of their own, so that a longer run or another given layer does not shift the other draws.
POSTERIOR, INITIAL, STEPS = range(3)

DrawNoise = Callable[[int], Tensor]


class NoiseSource:
    """Noise of one run.

    Args:
        seed: 0 .. 2**64 - 1.
        window: number of the time window, for videos longer than the model's clip.

    Raises:
        SamplingError: the seed is out of range.
    """

    def __init__(self, seed: int, window: int = 0) -> None:
        if not 0 <= seed <= LARGEST_SEED:
            raise SamplingError(f"got seed {seed}, expected 0 to {LARGEST_SEED}")
        self._seed = seed
        self._window = window

    def generator(self, stream: int) -> torch.Generator:
        """A fresh CPU generator of one stream."""
        return torch.Generator("cpu").manual_seed(self._number(stream))

    def _number(self, stream: int) -> int:
        """Of one stream; torch's CPU generator looks at its lower 32 bits only."""
        if self._seed >= _HALF:  # hashed: their lower bits alone would repeat those of small seeds
            named = f"{self._seed} {stream} {self._window}".encode()
            return int.from_bytes(hashlib.blake2b(named, digest_size=4).digest(), "little")
        # 0x9E37... is the golden-ratio multiplier of splitmix64: neighbouring seeds land far apart.
        return (self._seed * 3 + stream + self._window * 0x9E3779B97F4A7C15) % _HALF

    def initial(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 of ``shape``."""
        return torch.randn(shape, generator=self.generator(INITIAL))

    def per_step(self, shape: tuple[int, ...]) -> DrawNoise:
        """Noise for step after step, to be called in order."""
        generator = self.generator(STEPS)
        return lambda step: torch.randn(shape, generator=generator)
