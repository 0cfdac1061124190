"""What ComfyUI was started with, in the core's words."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch

from ..layerflow_core.model.kernels import AUTO
from ..layerflow_core.runtime.precision import AUTO_PRECISION

# Flags by the precision that they ask for; the first one that is set counts.
_NETWORK_FLAGS = {
    "force_fp32": "fp32",
    "fp32_unet": "fp32",
    "bf16_unet": "bf16",
    "fp16_unet": "fp16",  # --force-fp16 sets it, too
    "fp8_e4m3fn_unet": "fp8",
    "fp8_e5m2_unet": "fp8",
    "fp8_e8m0fnu_unet": "fp8",
}
_TEXT_FLAGS = {
    "fp32_text_enc": "fp32",
    "bf16_text_enc": "bf16",
    "fp16_text_enc": "fp16",
    "fp8_e4m3fn_text_enc": "fp8",
    "fp8_e5m2_text_enc": "fp8",
}
_VAE_FLAGS = {"fp32_vae": "fp32", "bf16_vae": "bf16", "fp16_vae": "fp16", "cpu_vae": "fp32"}
_KERNEL_FLAGS = {
    "use_sage_attention": "sage",
    "use_split_cross_attention": "chunked",
    "use_quad_cross_attention": "chunked",
}


def choose_precisions(chosen: str) -> dict[str, str]:
    """``LoadOptions``' precisions of the three parts.

    Args:
        chosen: in the node; ``auto`` asks the flags, then the device.
    """
    return {
        "precision": _network_precision() if chosen == AUTO_PRECISION else chosen,
        "text_precision": _first_set(_TEXT_FLAGS),
        "vae_precision": _first_set(_VAE_FLAGS),
    }


def choose_kernel(chosen: str) -> str:
    """The kernel of attention; ``auto`` asks the flags, and the core what is the fastest exact one."""
    kernel = _first_set(_KERNEL_FLAGS)
    is_missing = kernel == "sage" and find_spec("sageattention") is None
    return chosen if chosen != AUTO or not kernel or is_missing else kernel


def _network_precision() -> str:
    from comfy import model_management

    asked = _first_set(_NETWORK_FLAGS)
    device: torch.device = model_management.get_torch_device()
    if asked or device.type == "cpu":
        return asked or AUTO_PRECISION
    if model_management.should_use_bf16(device):
        return "bf16"
    return "fp16" if model_management.should_use_fp16(device) else "fp32"


def _first_set(flags: Mapping[str, str]) -> str:
    """What the first flag that is set asks for; empty where none is. Not every ComfyUI knows all of them."""
    from comfy.cli_args import args

    return next((asked for flag, asked in flags.items() if getattr(args, flag, False)), "")
