"""What a trainer trains: a module that turns a batch into the loss of each sample."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn


class TrainingModule(nn.Module):
    """Networks and loss in one module, so that data-parallel wrappers see one forward pass."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """[B] loss of each sample."""
        raise NotImplementedError

    def step_context(self, batch: dict[str, Tensor]) -> AbstractContextManager:
        """What must hold from the forward pass to the end of the backward pass, where activations
        may be computed again.
        """
        return nullcontext()

    def metrics(self) -> dict[str, float]:
        """Figures of the last batch that are logged beside the loss."""
        return {}
