"""Weights in 8 bits that compute in 16: half the memory, some precision.

diffusers' layerwise casting rounds biases too and cannot be taken off again; here only matrices are in fp8, and only
while the network is at work are there hooks on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import LayerFlowNetwork

FP8 = torch.float8_e4m3fn
_MOST = torch.finfo(FP8).max
_UNIT = 16  # by which both sides of a matrix must be divided for products in fp8
_FEW_ROWS = 32
_SMALLEST_SCALE = 1e-12


def to_fp8(weight: Tensor) -> Tensor:
    """The nearest values there are; what is too large becomes the largest."""
    return weight.clamp(-_MOST, _MOST).to(FP8)


def store_in_fp8(network: LayerFlowNetwork, multiply: bool = False) -> LayerFlowNetwork:
    """Put the matrices inside the blocks into fp8, in place; ``widened`` must hold whenever the network is called.

    Args:
        multiply: their products are computed in fp8 too, for devices that do that, see ``precision.multiplies_fp8``.
    """
    for module in _linears(network.backbone.transformer_blocks):
        narrow(module)
        module.multiplies_in_fp8 = multiply and _can_multiply(module)
    return network


def _can_multiply(module: nn.Linear) -> bool:
    return not (module.in_features % _UNIT or module.out_features % _UNIT)


def narrow(module: nn.Linear) -> None:
    """Put one matrix into fp8, in place."""
    module.weight = nn.Parameter(to_fp8(module.weight), requires_grad=False)


@contextmanager
def widened(part: nn.Module) -> Iterator[None]:
    """Inside this context every matrix in fp8 takes its input's dtype while it is used, or multiplies as it is."""
    with ExitStack() as hooks:
        for module in _linears(part):
            if module.weight.dtype != FP8:
                continue
            if getattr(module, "multiplies_in_fp8", False):
                hooks.enter_context(_multiplying(module))
            else:
                hooks.callback(module.register_forward_pre_hook(_widen).remove)
                hooks.callback(module.register_forward_hook(_narrow, always_call=True).remove)
        yield


@contextmanager
def _multiplying(module: nn.Linear) -> Iterator[None]:
    module.forward = lambda tokens: multiply_in_fp8(tokens, module.weight, module.bias)
    try:
        yield
    finally:
        del module.forward


def multiply_in_fp8(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``nn.Linear`` computes, with the tokens in fp8 as well, under one scale for all of them.

    A few rows, such as those of the timestep's modulation, are computed wide: they cost nothing and steer everything.

    Args:
        tokens: [..., in].
        weight: [out, in] in fp8.
    """
    rows = tokens.flatten(0, -2)
    if len(rows) < _FEW_ROWS:
        return F.linear(tokens, weight.to(tokens.dtype), bias)
    scale = rows.abs().amax().float().clamp(min=_SMALLEST_SCALE) / _MOST
    narrow_rows = to_fp8(rows / scale.to(rows.dtype))
    product = torch._scaled_mm(
        narrow_rows,
        weight.t(),
        scale_a=scale,
        scale_b=torch.ones_like(scale),
        out_dtype=tokens.dtype,
    )
    product = product if bias is None else product + bias
    return product.unflatten(0, tokens.shape[:-1])


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
