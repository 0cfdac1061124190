"""How a training goes, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import TrainingError
from ..plain_data import Count, Finite

STRICT = {
    "extra": "forbid"
}  # read by pydantic, which checks configuration files against these dataclasses
PRECISIONS = ("no", "bf16", "fp16")
DECAYS = ("cosine", "constant")


@dataclass(frozen=True)
class TrainPlan:
    """How long, how fast, how often.

    Args:
        steps: optimiser steps.
        batch: samples per process and pass; a step has batch * accumulation * processes.
        rate: peak learning rate of AdamW, reached after ``warm_up`` steps; then constant or a half cosine to zero.
        matrix_rate: the same of Muon, for the matrices inside the blocks; 0 trains them with AdamW too.
        clip: largest gradient norm.
        ema: decay of the averaged weights that are kept, 0 = keep the last ones.
        precision: of the computing: no (float32), bf16 or fp16. ``run_training`` emulates no halves.
        checkpointing: recompute activations in the backward pass; slower, much less memory.
        save_every, sample_every, log_every: steps; 0 samples never.
        keep: checkpoints that stay.
        seed: of everything random.
    """

    __pydantic_config__ = STRICT

    steps: Count
    batch: Count = 1
    accumulation: Count = 1
    rate: Finite = 1e-4
    matrix_rate: Finite = 0.0
    warm_up: Count = 100
    decay: str = "cosine"
    betas: tuple[Finite, Finite] = (0.9, 0.95)
    weight_decay: Finite = 1e-4
    clip: Finite = 1.0
    ema: Finite = 0.0
    precision: str = "bf16"
    checkpointing: bool = True
    save_every: Count = 250
    sample_every: Count = 0
    log_every: Count = 10
    keep: Count = 2
    seed: Count = 0

    def __post_init__(self) -> None:
        for name, choices in (("precision", PRECISIONS), ("decay", DECAYS)):
            if getattr(self, name) not in choices:
                raise TrainingError(
                    f"plan.{name} = {getattr(self, name)!r} met, expected one of {', '.join(choices)}"
                )
        for name in ("steps", "batch", "accumulation", "rate", "save_every", "log_every", "keep"):
            if getattr(self, name) <= 0:
                raise TrainingError(
                    f"plan.{name} = {getattr(self, name)} met, expected more than 0"
                )
        if not 0 <= self.ema < 1:
            raise TrainingError(f"plan.ema = {self.ema} met, expected 0 to below 1")

    def rate_share(self, step: int) -> float:
        """Share of the peak rates at a step: linear up over ``warm_up`` steps, then 1, or a half cosine to zero."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        if self.decay == "constant":
            return 1.0
        return 0.5 * (
            1 + math.cos(math.pi * (step - self.warm_up) / max(1, self.steps - self.warm_up))
        )
