"""Kernels of attention as rows, and which one a device gets."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch

from ..errors import SamplingError

AUTO = "auto"
SDPA = "sdpa"
CHUNKED = "chunked"
# Our names, and diffusers' for the same kernels: ``sdpa`` and ``chunked`` go by diffusers only where the sequence is
# split over processes. SageAttention works in 8 bits and is never taken unasked.
KERNELS: Mapping[str, str] = {
    SDPA: "native",
    "flash": "_native_flash",
    "cudnn": "_native_cudnn",
    "sage": "sage",
    CHUNKED: "native",
}
_OURS = (SDPA, CHUNKED)
_WITH_FAST_CUDNN = (9, 10, 12)  # compute capabilities of Hopper and Blackwell
_HALVES = (torch.float16, torch.bfloat16)
_REFUSALS = ("no available kernel", "no viable backend", "cudnn", "execution plan")
_PROBE = (1, 8, 1, 64)  # batch, tokens, heads and head width, as diffusers has them


def best_kernel(device: torch.device, dtype: torch.dtype) -> str:
    """The fastest exact one: cuDNN's on Hopper and Blackwell, else torch's own choice where that is a fused kernel."""
    if not has_fused_kernel(device, dtype):
        return CHUNKED
    is_nvidia = device.type == "cuda" and torch.version.hip is None
    if not is_nvidia or dtype not in _HALVES or not _has_dispatch():
        return SDPA
    generation = torch.cuda.get_device_capability(device)[0]
    is_best = generation in _WITH_FAST_CUDNN and refusal("cudnn", device, dtype) is None
    return "cudnn" if is_best else SDPA


def has_fused_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch attends there without writing the matrix of scores.

    Missing: bf16 before Ampere, many AMD cards, and Apple's, whose kernel keeps the scores.
    """
    if device.type in ("cpu", "xpu"):
        return True
    if device.type != "cuda" or not torch.cuda.is_available():
        return device.type == "cuda"  # without a driver nothing can be asked
    probe = torch.empty(1, 1, 8, 64, dtype=dtype, device=device)
    parameters = torch.backends.cuda.SDPAParams(probe, probe, probe, None, 0.0, False, False)
    can_flash = torch.backends.cuda.can_use_flash_attention(parameters)
    return can_flash or torch.backends.cuda.can_use_efficient_attention(parameters)


def choose_kernel(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """A key of ``KERNELS`` that works there.

    Raises:
        SamplingError: it is unknown, not installed, or refuses this device or dtype.
    """
    if name == AUTO:
        return best_kernel(device, dtype)
    check_kernel(name)
    reason = refusal(name, device, dtype)
    if reason is not None:
        raise SamplingError(
            f"got attention kernel {name!r}, which does not run on {device} in {dtype} "
            f"({reason}): take {AUTO}"
        )
    return name


def check_kernel(name: str) -> None:
    """Raises SamplingError if the kernel is unknown or something it needs is not installed."""
    if name not in KERNELS:
        raise SamplingError(
            f"got unknown attention kernel {name!r}, expected {AUTO} or one of {', '.join(KERNELS)}"
        )
    if name not in _OURS and not _has_dispatch():
        raise SamplingError(
            f"got attention kernel {name!r}, this diffusers knows only its own: install "
            "diffusers 0.35 or newer, or take sdpa"
        )
    if name == "sage" and find_spec("sageattention") is None:
        raise SamplingError(
            "got attention kernel 'sage', SageAttention is not installed: pip install sageattention, or take auto"
        )


def refusal(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a kernel does not run on a device, tried on a few tokens; None if it does."""
    if name in _OURS:
        return None
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    try:
        probe = torch.zeros(_PROBE, dtype=dtype, device=device)
        dispatch_attention_fn(probe, probe, probe, backend=KERNELS[name])
    except (RuntimeError, AssertionError, ValueError, NotImplementedError, ImportError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def is_refusal(error: RuntimeError) -> bool:
    """Whether a kernel says at work that it cannot do it; memory that runs out is something else."""
    text = str(error).lower()
    if "alloc" in text or "out of memory" in text:
        return False
    return any(phrase in text for phrase in _REFUSALS)


def _has_dispatch() -> bool:
    return find_spec("diffusers.models.attention_dispatch") is not None
