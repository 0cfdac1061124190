"""What a training needs of a GPU's memory, by arithmetic, before it starts.

Legend: D hidden size, N tokens of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..model.network import LayerFlowNetwork
from .plan import TrainPlan

GIB = 1024**3
# Numbers of hidden-size vectors that one block keeps per token for its backward pass: norms, modulation, q, k, v, their
# norms, attention out, and four times two of the feed-forward.
_KEPT_IN_A_BLOCK = 22


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they are for, on one device."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in vars(self).items())
        return f"memory: about {self.total / GIB:.2f} GiB a device ({parts})"


def estimate_memory(network: LayerFlowNetwork, plan: TrainPlan) -> MemoryEstimate:
    """Of a network whose trainable parameters are chosen, with everything on one device."""
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    full = 4  # gradients and optimiser are float32
    return MemoryEstimate(
        weights,
        trained * full,
        trained * 2 * full,
        trained * full if plan.ema_decay else 0,
        _activations(network, plan),
    )


def _activations(network: LayerFlowNetwork, plan: TrainPlan) -> int:
    config = network.config
    size = torch.finfo(torch.float32 if plan.precision == "no" else torch.bfloat16).bits // 8
    vector = plan.batch * config.sequence_length * config.network.hidden_size * size
    blocks = config.network.num_layers
    # With gradient_checkpointing each block keeps its input alone, and one block at a time all of it.
    return vector * (
        blocks + _KEPT_IN_A_BLOCK if plan.gradient_checkpointing else blocks * _KEPT_IN_A_BLOCK
    )
