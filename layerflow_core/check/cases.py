"""What a case is: rows that are measured one after another, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from ..model.loading import LayerFlowModel
from ..runtime.precision import best_dtype
from ..weights.components import Components
from . import true_size

PROMPTS = {
    "foreground": "a red solid circle moving right",
    "background": "a blue sky",
    "blended": "a red solid circle moving right in front of a blue sky",
}


class Bench:
    """What all cases share: where they compute, and the models that they need, made when the first asks.

    Args:
        checkpoint: a model of the user's own.
        parts: its text encoder, tokenizer and VAE, where it lacks them.
    """

    def __init__(
        self,
        device: torch.device,
        checkpoint: Path | None = None,
        parts: Components = Components(),
    ) -> None:
        self.device = device
        self.dtype = best_dtype(device)
        self.checkpoint = checkpoint
        self.parts = parts

    @cached_property
    def true_model(self) -> LayerFlowModel:
        """Transformer and VAE of true size in RAM."""
        return true_size.random_model(self.device, self.dtype)

    @cached_property
    def true_transformer(self) -> LayerFlowModel:
        """The same transformer alone."""
        return replace(self.true_model, vae=None)


@dataclass(frozen=True)
class Reading:
    """What one measurement found.

    Args:
        cells: texts under the case's columns.
        problem: why the values are wrong or missing; empty where all is well.
        is_failure: see ``report.Row``.
    """

    cells: tuple[str, ...]
    problem: str = ""
    is_failure: bool = False


Measurement = tuple[str, Callable[[], Reading]]
"""The row's name, and what measures it; may raise."""


@dataclass(frozen=True)
class Case:
    """A table to be filled.

    Args:
        measurements: in the order in which they are worth their time.
        on_cpu: whether it is worth it where the device is the CPU.
        raising_is_failure: whether a measurement that raises is a fault, not a kernel or plan that this device
            does not have.
    """

    title: str
    columns: tuple[str, ...]
    measurements: Callable[[Bench], Iterable[Measurement]]
    on_cpu: bool = True
    raising_is_failure: bool = True
