"""AdamW, and beside it Muon for the matrices inside the blocks, which learn from far fewer samples with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import TrainingError


@dataclass(frozen=True)
class Rates:
    """Peak learning rates and what else the optimisers share.

    Args:
        rate: of AdamW.
        matrix_rate: of Muon, for the parameters that are told to be matrices; 0 leaves them to AdamW.
    """

    rate: float
    matrix_rate: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4


def is_block_matrix(parameter: str) -> bool:
    """Whether a parameter is a matrix of attention or feed-forward inside a transformer block; none of a LoRA is."""
    inner = ".attn1.to_" in parameter or ".ff.net." in parameter
    return inner and "transformer_blocks" in parameter and parameter.endswith("weight") and ".lora_" not in parameter


def build_optimisers(
    parameters: Iterable[tuple[str, nn.Parameter]], rates: Rates, is_matrix: Callable[[str], bool] = is_block_matrix
) -> dict[torch.optim.Optimizer, float]:
    """Optimisers over all named parameters, with their peak rates.

    Raises:
        TrainingError: Muon is asked for and this torch has none.
    """
    matrices, others = [], []
    for name, parameter in parameters:
        (matrices if rates.matrix_rate and is_matrix(name) else others).append(parameter)
    built: dict[torch.optim.Optimizer, float] = {}
    if others:
        built[torch.optim.AdamW(others, lr=rates.rate, betas=rates.betas, weight_decay=rates.weight_decay)] = rates.rate
    if matrices:
        if not hasattr(torch.optim, "Muon"):
            raise TrainingError(f"torch {torch.__version__} has no Muon, expected 2.9 or newer; matrix_rate = 0 trains with AdamW alone")
        muon = torch.optim.Muon(matrices, lr=rates.matrix_rate, weight_decay=rates.weight_decay, adjust_lr_fn="match_rms_adamw")
        built[muon] = rates.matrix_rate
    return built
