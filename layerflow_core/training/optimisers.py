"""AdamW, and beside it Muon for the matrices inside the blocks, which learn from far fewer samples with it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..errors import TrainingError
from .plan import TrainPlan


def is_block_matrix(parameter: str) -> bool:
    """Whether a parameter is a matrix of attention or feed-forward inside a transformer block; none of a LoRA is."""
    inner = ".attn1.to_" in parameter or ".ff.net." in parameter
    return (
        inner
        and "transformer_blocks" in parameter
        and parameter.endswith("weight")
        and ".lora_" not in parameter
    )


def build_optimisers(
    parameters: Iterable[tuple[str, nn.Parameter]], plan: TrainPlan
) -> dict[torch.optim.Optimizer, float]:
    """Optimisers over all named parameters, with their peak rates.

    Raises:
        TrainingError: Muon is asked for and this torch has none.
    """
    matrices = []
    others = []
    for name, parameter in parameters:
        (matrices if plan.muon_lr and is_block_matrix(name) else others).append(parameter)
    built: dict[torch.optim.Optimizer, float] = {}
    if others:
        built[
            torch.optim.AdamW(others, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay)
        ] = plan.lr
    if matrices:
        if not hasattr(torch.optim, "Muon"):
            raise TrainingError(
                f"torch {torch.__version__} has no Muon, expected 2.9 or newer; muon_lr = 0 trains with AdamW alone"
            )
        muon = torch.optim.Muon(
            matrices,
            lr=plan.muon_lr,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        built[muon] = plan.muon_lr
    return built
