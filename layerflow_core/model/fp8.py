"""Weights in 8 bits that compute in 16: half the memory, some precision.

diffusers' layerwise casting rounds biases too and cannot be taken off again; here only matrices are in fp8, and only
while the network is at work are there hooks on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from .network import LayerFlowNetwork

FP8 = torch.float8_e4m3fn
_MOST = torch.finfo(FP8).max


def to_fp8(weight: Tensor) -> Tensor:
    """The nearest values there are; what is too large becomes the largest."""
    return weight.clamp(-_MOST, _MOST).to(FP8)


def store_in_fp8(network: LayerFlowNetwork) -> LayerFlowNetwork:
    """Put the matrices inside the blocks into fp8, in place; ``widened`` must hold whenever the network is called."""
    for module in _linears(network.backbone.transformer_blocks):
        narrow(module)
    return network


def narrow(module: nn.Linear) -> None:
    """Put one matrix into fp8, in place."""
    module.weight = nn.Parameter(to_fp8(module.weight), requires_grad=False)


@contextmanager
def widened(part: nn.Module) -> Iterator[None]:
    """Inside this context every matrix in fp8 takes its input's dtype while it is used."""
    with ExitStack() as hooks:
        for module in _linears(part):
            if module.weight.dtype == FP8:
                hooks.callback(module.register_forward_pre_hook(_widen).remove)
                hooks.callback(module.register_forward_hook(_narrow, always_call=True).remove)
        yield


def _linears(part: nn.Module) -> Iterator[nn.Linear]:
    return (module for module in part.modules() if isinstance(module, nn.Linear))


def _widen(module: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
    module._stored = (module.weight,)  # a tuple, or torch would take it for a parameter
    module.weight = nn.Parameter(module.weight.to(inputs[0].dtype), requires_grad=False)


def _narrow(module: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    if stored := module.__dict__.pop(
        "_stored", None
    ):  # not there if the call failed before it was widened
        (module.weight,) = stored
