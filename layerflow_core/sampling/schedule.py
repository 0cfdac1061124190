"""Noise schedule of the official sampler: two differently normalised zero-SNR tables.

Source: the official release's denoiser and sampler; the sampler's table is normalised on the used timesteps only,
the denoiser snaps to the table of all timesteps. Both are needed for equal results.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import ScheduleConfig
from ..errors import SamplingError

MOST_STEPS = 200


@dataclass(frozen=True)
class Step:
    """One step from noise level ``a`` to ``b``; a, b, q are sqrt(alpha_cumprod) in 0..1.

    Args:
        timestep: 0..999, what the network and the guidance are told.
        a, b: before and after the step, from the sampler's table; the last b is 1.
        previous: a of the step before, None on the first.
        q: a snapped to the denoiser's table; turns v into x0.
    """

    index: int
    count: int
    timestep: int
    a: float
    b: float
    previous: float | None
    q: float

    @property
    def is_last(self) -> bool:
        return self.index == self.count - 1


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Rescale so that the last entry is 0 and the first stays (arXiv 2305.08891, algorithm 1).

    Args:
        alphas_cumprod: [n], ordered by rising timestep.

    Returns:
        sqrt of the rescaled values, [n], float32.
    """
    root = alphas_cumprod.float().sqrt()
    first, last = root[0].clone(), root[-1].clone()
    if len(root) == 1:
        return torch.zeros_like(root)
    return (root - last) * first / (first - last)


class Schedule:
    """Tables of one schedule config."""

    def __init__(self, config: ScheduleConfig = ScheduleConfig()) -> None:
        betas = (
            torch.linspace(
                config.beta_start**0.5, config.beta_end**0.5, config.timesteps, dtype=torch.float64
            )
            ** 2
        )
        alphas = torch.cumprod(1 - betas, 0)
        self.timesteps = config.timesteps
        self.alphas_cumprod = alphas / (config.snr_shift + (1 - config.snr_shift) * alphas)
        self.denoiser_table = zero_terminal_snr(self.alphas_cumprod)

    def timesteps_for(self, count: int) -> list[int]:
        """``count`` timesteps from 999 downwards, truncated as the official code does.

        Raises:
            SamplingError: the count is not 1..200.
        """
        if not 1 <= count <= MOST_STEPS:
            raise SamplingError(f"{count} steps met, expected 1 to {MOST_STEPS}")
        last = self.timesteps - 1
        return [int(last - i * last / count) for i in range(count)]

    def snap(self, root: Tensor) -> Tensor:
        """The denoiser table's entry nearest to ``root``."""
        return self.denoiser_table[(self.denoiser_table - root).abs().argmin()]

    def steps(self, count: int) -> list[Step]:
        """The steps of a run, noisiest first."""
        timesteps = self.timesteps_for(count)
        roots = zero_terminal_snr(self.alphas_cumprod[timesteps[::-1]]).flip(0)
        levels = [*(float(r) for r in roots), 1.0]
        return [
            Step(
                i,
                count,
                t,
                levels[i],
                levels[i + 1],
                levels[i - 1] if i else None,
                float(self.snap(roots[i])),
            )
            for i, t in enumerate(timesteps)
        ]
