"""A loaded model made ready to be run many times: what costs nothing in exactness is done once, not at every step."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import SamplingError
from .attention import AUTO, best_kernel, fuse_qkv, use_kernel
from .fp8 import FP8, store_in_fp8
from .loading import LayerFlowModel
from .lora import merge
from .lora_file import share_weights, with_network
from .vae import in_channels_last

_log = logging.getLogger(__name__)
_LEAST_TORCH = (2, 6)  # knows how to run compiled blocks eagerly, which counting their memory needs


@dataclass(frozen=True)
class ComputeOptions:
    """How the transformer computes; every row gives the same layers up to rounding, but for ``sage``.

    Args:
        kernel: of attention, key of ``attention.KERNELS`` or ``auto``.
        compiled: blocks go through ``torch.compile``, one graph for the first block and one for all
            others, at all steps.
    """

    kernel: str = AUTO
    compiled: bool = False


def prepare_for_inference(model: LayerFlowModel, fp8: bool = False) -> LayerFlowModel:
    """Merge LoRA, fuse the projections of attention, and store matrices in 8 bits where that is asked for; in place.

    Args:
        fp8: see ``fp8.store_in_fp8``; not exact.
    """
    merge(model.network.backbone)
    fuse_qkv(model.network.backbone)
    return with_network(model, store_in_fp8(model.network), "fp8") if fp8 else model


def with_compute(
    model: LayerFlowModel, how: ComputeOptions, device: torch.device
) -> LayerFlowModel:
    """A model that computes in another way; its weights are shared with the one that was given, which stays as it is.

    Args:
        device: where it will compute.

    Raises:
        SamplingError: a kernel that is unknown or not here, or compiling where that cannot be.
    """
    network = share_weights(model.network)
    kernel = best_kernel(device, network.position_table.dtype) if how.kernel == AUTO else how.kernel
    use_kernel(network.backbone, kernel)
    if how.compiled:
        compile_blocks(network.backbone)
    if device.type == "cuda" and model.vae is not None:
        in_channels_last(model.vae.vae)
    _log.info("attention: %s%s", kernel, ", compiled blocks" if how.compiled else "")
    return with_network(model, network, f"attention {kernel}")


def compile_blocks(backbone: nn.Module) -> None:
    """Compile every block in place: they are of one make and share their graphs.

    Raises:
        SamplingError: weights in 8 bits, which change their width at every call, or a torch that is too old.
    """
    version = tuple(int(number) for number in torch.__version__.split(".")[:2])
    if version < _LEAST_TORCH:
        raise SamplingError(
            f"compiling met on torch {torch.__version__}, expected "
            f"{'.'.join(map(str, _LEAST_TORCH))} or newer: switch it off"
        )
    if any(parameter.dtype == FP8 for parameter in backbone.parameters()):
        raise SamplingError(
            "compiling met together with fp8 weights, which are widened at every call: choose one of the two"
        )
    for block in backbone.transformer_blocks:
        block.compile(dynamic=False)
