"""A model made ready to be run many times: what costs nothing in exactness is done once, not at every step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from .config import ModelConfig
from .errors import SamplingError
from .model.attention import fuse_qkv, use_kernel
from .model.fp8 import FP8, store_in_fp8
from .model.kernels import AUTO, choose_kernel
from .model.loading import LayerFlowModel, assemble
from .model.lora import merge
from .model.lora_file import attach_lora, is_own_lora, read_lora, share_weights, with_network
from .model.text import prepare_t5
from .model.third_party_lora import add_third_party_lora
from .model.vae import LayerVAE, in_channels_last
from .official.conversion import read_any
from .runtime.precision import (
    AUTO_PRECISION,
    FP8_FAST,
    FP8_STORED,
    choose_dtype,
    multiplies_fp8,
)
from .weights.components import Components

_log = logging.getLogger(__name__)
_LEAST_TORCH = (2, 6)  # knows how to run compiled blocks eagerly, which counting their memory needs


@dataclass(frozen=True)
class ComputeOptions:
    """How the transformer computes; every kernel gives the same layers up to rounding, but for ``sage``.

    Args:
        kernel: of attention, key of ``kernels.KERNELS`` or ``auto``.
        compiled: blocks go through ``torch.compile``, one graph for the first block and one for all
            others, at all steps.
        allow_8bit: ``auto`` may take SageAttention, which computes scores in 8 bits.
    """

    kernel: str = AUTO
    compiled: bool = False
    allow_8bit: bool = False


@dataclass(frozen=True)
class LoadOptions:
    """How a checkpoint becomes a model.

    Args:
        precision: one of ``precision.PRECISIONS``.
        text_precision, vae_precision: of these parts, if not the same; empty: as ``precision``, but
            for fp8, which is the transformer's alone.
        content, motion: strengths of the checkpoint's own LoRA.
        loras: more, a file and its strength each, of this pack or of other trainers.
        compute: see ``ComputeOptions``.
    """

    precision: str = AUTO_PRECISION
    text_precision: str = ""
    vae_precision: str = ""
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
    text_dtype = choose_dtype(options.text_precision or options.precision, device)
    vae_dtype = choose_dtype(options.vae_precision or options.precision, device)
    checkpoint = read_any(path, dtype)
    parts = find_parts(checkpoint.config)
    model = assemble(checkpoint, dtype, path, parts, text_dtype, vae_dtype)
    model.set_strengths(options.content, options.motion)
    model = prepare_for_inference(model)
    if options.precision in (FP8_STORED, FP8_FAST):
        model = in_fp8(model, options.precision == FP8_FAST, device)
    if model.text is not None:
        prepare_t5(model.text.t5, options.text_precision == FP8_STORED)
    if options.loras:
        model = prepare_for_inference(with_loras(model, options.loras))
    return with_compute(model, options.compute, device)


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


def prepare_for_inference(model: LayerFlowModel) -> LayerFlowModel:
    """Merge LoRA and fuse the projections of attention, in place."""
    merge(model.network.backbone)
    fuse_qkv(model.network.backbone)
    return model


def in_fp8(model: LayerFlowModel, multiply: bool, device: torch.device) -> LayerFlowModel:
    """The model with the transformer's matrices in 8 bits, in place; not exact.

    Args:
        multiply: in 8 bits too, where the device does that; else the log says that it does not.
    """
    if multiply and not multiplies_fp8(device):
        _log.warning(
            "%s has no products in fp8: its matrices are stored so, and computed wide", device
        )
        multiply = False
    return with_network(
        model, store_in_fp8(model.network, multiply), FP8_FAST if multiply else FP8_STORED
    )


def with_compute(
    model: LayerFlowModel, how: ComputeOptions, device: torch.device
) -> LayerFlowModel:
    """A model that computes in another way; its weights are shared with the one that was given, which stays as it is.

    Args:
        device: where it will compute.

    Raises:
        SamplingError: a kernel that is unknown or does not run there, or compiling where that cannot be.
    """
    network = share_weights(model.network)
    kernel = choose_kernel(how.kernel, device, network.position_table.dtype, how.allow_8bit)
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
