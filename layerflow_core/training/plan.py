"""How a training goes, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import TrainingError
from ..plain_data import Count, Finite

# Read by pydantic, which checks configuration files against these dataclasses.
STRICT = {"extra": "forbid"}
RENAMED = {
    "accumulation": "gradient_accumulation_steps",
    "checkpointing": "gradient_checkpointing",
    "clip": "max_grad_norm",
    "decay": "lr_schedule",
    "ema": "ema_decay",
    "keep": "keep_last",
    "matrix_rate": "muon_lr",
    "rate": "lr",
    "warm_up": "warmup_steps",
}
"""Fields of a plan by what the first versions called them."""
PRECISIONS = ("no", "bf16", "fp16")
LR_SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class TrainPlan:
    """How long, how fast, how often.

    Args:
        steps: optimiser steps.
        batch: samples per process and pass; a step has batch * gradient_accumulation_steps * processes.
        lr: peak learning rate of AdamW.
        muon_lr: the same of Muon, for the matrices inside the blocks; 0 trains them with AdamW too.
        warmup_steps: over which learning rates rise linearly to their peaks.
        lr_schedule: what follows: ``cosine`` falls along a half cosine to zero, ``constant`` stays.
        max_grad_norm: largest gradient norm.
        ema_decay: decay of the averaged weights that are kept, 0 = keep the last ones.
        precision: of the computing: no (float32), bf16 or fp16. ``run_training`` emulates no halves.
        gradient_checkpointing: recompute activations in the backward pass; slower, much less memory.
        save_every, sample_every, log_every: steps; 0 samples never.
        keep_last: checkpoints that stay.
        seed: of everything random.
    """

    __pydantic_config__ = STRICT

    steps: Count
    batch: Count = 1
    gradient_accumulation_steps: Count = 1
    lr: Finite = 1e-4
    muon_lr: Finite = 0.0
    warmup_steps: Count = 100
    lr_schedule: str = "cosine"
    betas: tuple[Finite, Finite] = (0.9, 0.95)
    weight_decay: Finite = 1e-4
    max_grad_norm: Finite = 1.0
    ema_decay: Finite = 0.0
    precision: str = "bf16"
    gradient_checkpointing: bool = True
    save_every: Count = 250
    sample_every: Count = 0
    log_every: Count = 10
    keep_last: Count = 2
    seed: Count = 0

    def __post_init__(self) -> None:
        for name, choices in (("precision", PRECISIONS), ("lr_schedule", LR_SCHEDULES)):
            if getattr(self, name) not in choices:
                raise TrainingError(
                    f"got plan.{name} = {getattr(self, name)!r}, expected one of {', '.join(choices)}"
                )
        for name in (
            "steps",
            "batch",
            "gradient_accumulation_steps",
            "lr",
            "save_every",
            "log_every",
            "keep_last",
        ):
            if getattr(self, name) <= 0:
                raise TrainingError(
                    f"got plan.{name} = {getattr(self, name)}, expected more than 0"
                )
        if not 0 <= self.ema_decay < 1:
            raise TrainingError(f"got plan.ema_decay = {self.ema_decay}, expected 0 to below 1")

    def lr_factor(self, step: int) -> float:
        """Learning rate at a step, as a share of its peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.lr_schedule == "constant":
            return 1.0
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * progress))


def current_fields(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a plan as they are called now, see ``RENAMED``; a new name goes before its old one."""
    renamed = {RENAMED[name]: value for name, value in plan.items() if name in RENAMED}
    return renamed | {name: value for name, value in plan.items() if name not in RENAMED}
