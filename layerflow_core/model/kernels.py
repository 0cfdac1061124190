"""Kernels of attention as rows, and which one a device gets."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import SamplingError

AUTO = "auto"
SDPA = "sdpa"
FLASH = "flash"
CUDNN = "cudnn"
SAGE = "sage"
CHUNKED = "chunked"
# Our names, and diffusers' for the same kernels, by which all of them go where the sequence is split over processes,
# and SageAttention always. It works in 8 bits and is never taken unasked.
KERNELS: Mapping[str, str] = {
    SDPA: "native",
    FLASH: "_native_flash",
    CUDNN: "_native_cudnn",
    SAGE: "sage",
    CHUNKED: "native",
}
_ALWAYS = (SDPA, CHUNKED)
TORCH_BACKENDS = {FLASH: SDPBackend.FLASH_ATTENTION, CUDNN: SDPBackend.CUDNN_ATTENTION}
"""Kernels of torch's own. Called directly they read the projections as they lie; diffusers copies them for cuDNN."""
_WITH_FAST_CUDNN = (9, 10, 12)  # compute capabilities of Hopper and Blackwell
_HALVES = (torch.float16, torch.bfloat16)
_REFUSALS = ("no available kernel", "no viable backend", "cudnn", "execution plan")
_PROBE = (1, 8, 1, 64)  # batch, tokens, heads and head width, as diffusers has them


def best_kernel(device: torch.device, dtype: torch.dtype, allow_8bit: bool = False) -> str:
    """The fastest one: SageAttention where 8 bits are allowed and it runs, else the fastest exact one.

    That is cuDNN's on Hopper and Blackwell, else torch's own choice where that is a fused kernel.
    """
    if allow_8bit and is_installed(SAGE) and refusal(SAGE, device, dtype) is None:
        return SAGE
    if not has_fused_kernel(device, dtype):
        return CHUNKED
    is_nvidia = device.type == "cuda" and torch.version.hip is None
    if not is_nvidia or dtype not in _HALVES:
        return SDPA
    generation = torch.cuda.get_device_capability(device)[0]
    is_best = generation in _WITH_FAST_CUDNN and refusal(CUDNN, device, dtype) is None
    return CUDNN if is_best else SDPA


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


def choose_kernel(
    name: str, device: torch.device, dtype: torch.dtype, allow_8bit: bool = False
) -> str:
    """A key of ``KERNELS`` that works there.

    Args:
        allow_8bit: whether ``auto`` may take a kernel that is not exact.

    Raises:
        SamplingError: it is unknown, not installed, or refuses this device or dtype.
    """
    if name == AUTO:
        return best_kernel(device, dtype, allow_8bit)
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
    if is_installed(name):
        return
    if not _has_dispatch():
        raise SamplingError(
            f"got attention kernel {name!r}, this diffusers knows only its own: install "
            "diffusers 0.35 or newer, or take sdpa"
        )
    raise SamplingError(
        "got attention kernel 'sage', SageAttention is not installed: pip install sageattention, or take auto"
    )


def is_installed(name: str) -> bool:
    """Whether the packages are there that a kernel comes from; all but SageAttention are torch's and ours."""
    return name != SAGE or (_has_dispatch() and find_spec("sageattention") is not None)


def refusal(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a kernel does not run on a device, tried on a few tokens; None if it does."""
    if name in _ALWAYS:
        return None
    try:
        probe = torch.zeros(_PROBE, dtype=dtype, device=device)
        _try(name, probe)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError, ImportError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def _try(name: str, probe: torch.Tensor) -> None:
    if name in TORCH_BACKENDS:
        heads_first = probe.transpose(1, 2)
        attend_by(name, heads_first, heads_first, heads_first)
        return
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    dispatch_attention_fn(probe, probe, probe, backend=KERNELS[name])


def attend_by(
    name: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """One key of ``TORCH_BACKENDS`` and no other kernel, [B, H, S, d] each; RuntimeError where it refuses."""
    with sdpa_kernel(TORCH_BACKENDS[name]):
        return F.scaled_dot_product_attention(query, key, value)


def is_refusal(error: RuntimeError) -> bool:
    """Whether a kernel says at work that it cannot do it; memory that runs out is something else."""
    text = str(error).lower()
    if "alloc" in text or "out of memory" in text:
        return False
    return any(phrase in text for phrase in _REFUSALS)


def _has_dispatch() -> bool:
    return find_spec("diffusers.models.attention_dispatch") is not None
