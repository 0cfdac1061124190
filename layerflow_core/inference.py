"""A model made ready to be run many times: what costs nothing in exactness is done once, not at every step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from .config import ModelConfig
from .errors import CheckpointError, SamplingError
from .model.attention import AUTO, best_kernel, fuse_qkv, use_kernel
from .model.fp8 import FP8, store_in_fp8
from .model.loading import LayerFlowModel, assemble
from .model.lora import merge
from .model.lora_file import attach_lora, is_own_lora, read_lora, share_weights, with_network
from .model.third_party_lora import add_third_party_lora
from .model.vae import LayerVAE, in_channels_last
from .official.conversion import read_any
from .weights.components import Components

_log = logging.getLogger(__name__)
_LEAST_TORCH = (2, 6)  # knows how to run compiled blocks eagerly, which counting their memory needs
AUTO_PRECISION = "auto"
_DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.bfloat16,  # what its matrices compute in
}
PRECISIONS = (AUTO_PRECISION, *_DTYPES)
"""In which a model computes; ``auto`` is fp32 on a CPU and bf16 elsewhere, ``fp8`` stores matrices in 8 bits."""


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


@dataclass(frozen=True)
class LoadOptions:
    """How a checkpoint becomes a model.

    Args:
        precision: one of ``PRECISIONS``.
        content, motion: strengths of the checkpoint's own LoRA.
        loras: more, a file and its strength each, of this pack or of other trainers.
        compute: see ``ComputeOptions``.
    """

    precision: str = AUTO_PRECISION
    content: float = 1.0
    motion: float = 0.0
    loras: Sequence[tuple[Path, float]] = ()
    compute: ComputeOptions = ComputeOptions()


def load_for_inference(
    path: Path,
    device: torch.device,
    options: LoadOptions = LoadOptions(),
    find_parts: Callable[[ModelConfig], Components] = lambda config: Components(),
) -> LayerFlowModel:
    """Any checkpoint, of this pack or official, as a model that is ready for runs on a device.

    Args:
        find_parts: says where the parts are that the checkpoint lacks, or that go before its own.

    Raises:
        LayerFlowError: a file is missing, damaged or does not fit, or the options cannot be had here.
    """
    dtype = choose_dtype(options.precision, device)
    checkpoint = read_any(path)
    model = assemble(checkpoint, dtype, path, find_parts(checkpoint.config))
    model.set_strengths(options.content, options.motion)
    model = prepare_for_inference(model, options.precision == "fp8")
    if options.loras:
        model = prepare_for_inference(with_loras(model, options.loras))
    return with_compute(model, options.compute, device)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a precision computes in; raises CheckpointError for one that is unknown."""
    if precision == AUTO_PRECISION:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if precision not in _DTYPES:
        raise CheckpointError(
            f"got unknown precision {precision!r}, expected one of {', '.join(PRECISIONS)}"
        )
    return _DTYPES[precision]


def with_loras(model: LayerFlowModel, named: Sequence[tuple[Path, float]]) -> LayerFlowModel:
    """A model with LoRA files on top, each at its strength: first those of other trainers, then this pack's.

    Raises:
        CheckpointError: one is damaged or does not fit, or there are two of one kind.
    """
    own = {path: strength for path, strength in named if is_own_lora(path)}
    for path, strength in named:
        if path not in own:
            model = add_third_party_lora(model, path, strength)
    if not own:
        return model
    strengths = {read_lora(path).adapter: strength for path, strength in own.items()}
    return attach_lora(model, own, **strengths)


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
    _log.info("attention: %s%s", kernel, ", compiled blocks" if how.compiled else "")
    other = with_network(model, network, f"attention {kernel}")
    if device.type != "cuda" or model.vae is None:
        return other
    return replace(other, vae=LayerVAE(in_channels_last(model.vae.vae)))


def with_approximations(
    model: LayerFlowModel, step_cache: float = 0.0, guidance_margin: float = 0.0
) -> LayerFlowModel:
    """The model, its runs leaving out what hardly shows; what its checkpoint says of itself stays as it is.

    Args:
        step_cache, guidance_margin: see ``SamplerSettings``; 0 is exact, whatever the checkpoint says.
    """
    chosen = {"step_cache": step_cache, "guidance_margin": guidance_margin}
    return replace(model, sampler_overrides={**model.sampler_overrides, **chosen})


def compile_blocks(backbone: nn.Module) -> None:
    """Compile every block in place: they are of one make and share their graphs.

    Raises:
        SamplingError: weights in 8 bits, which change their width at every call, or a torch that is too old.
    """
    version = tuple(int(number) for number in torch.__version__.split(".")[:2])
    if version < _LEAST_TORCH:
        raise SamplingError(
            f"got compiling on torch {torch.__version__}, expected "
            f"{'.'.join(map(str, _LEAST_TORCH))} or newer: switch it off"
        )
    if any(parameter.dtype == FP8 for parameter in backbone.parameters()):
        raise SamplingError(
            "got compiling together with fp8 weights, which are widened at every call: choose one of the two"
        )
    for block in backbone.transformer_blocks:
        block.compile(dynamic=False)
