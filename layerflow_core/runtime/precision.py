"""Which numbers a device computes in: what was asked for, or the best that it has."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

import torch

from ..errors import CheckpointError

AUTO_PRECISION = "auto"
FP8_STORED = "fp8"
FP8_FAST = "fp8_fast"
_DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    FP8_STORED: torch.bfloat16,  # what its matrices compute in where the device has it
    FP8_FAST: torch.bfloat16,
}
PRECISIONS = (AUTO_PRECISION, *_DTYPES)
"""In which a model computes; ``auto`` asks the device, ``fp8`` stores matrices in 8 bits, ``fp8_fast`` multiplies them
so."""

_ADA = (8, 9)  # the first with products in fp8
_AMPERE = 8  # the first NVIDIA cards with bf16
_VOLTA = 7  # the first with fast fp16
# Turing without tensor cores: fp16 gives black images there (ComfyUI's list).
_BROKEN_FP16 = ("1660", "1650", "1630", "T500", "T550", "T600", "MX550", "MX450", "CMP 30HX")
_BROKEN_FP16_QUADRO = ("T2000", "T1000", "T1200")
# AMD before RDNA 3 and CDNA: no bf16 (ComfyUI's list).
_AMD_WITHOUT_BF16 = ("gfx803", "gfx900", "gfx906", "gfx101", "gfx103")
_MACOS_WITH_BF16 = 14


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a precision computes in on a device.

    Raises:
        CheckpointError: the precision is unknown.
    """
    if precision == AUTO_PRECISION:
        return best_dtype(device)
    if precision not in _DTYPES:
        raise CheckpointError(
            f"got unknown precision {precision!r}, expected one of {', '.join(PRECISIONS)}"
        )
    if precision in (FP8_STORED, FP8_FAST) and best_dtype(device) == torch.float16:
        return torch.float16
    return _DTYPES[precision]


def best_dtype(device: torch.device) -> torch.dtype:
    """bf16 where a device multiplies it, else fp16 where that is fast and sound, else fp32."""
    choose = _BEST.get(device.type)
    return choose(device) if choose else torch.float32


def multiplies_fp8(device: torch.device) -> bool:
    """Whether a device has products of matrices in 8 bits: NVIDIA's from Ada on; of other makers it is not known."""
    if device.type != "cuda" or torch.version.hip:
        return False
    return torch.cuda.get_device_capability(device) >= _ADA


def name_of_dtype(dtype: torch.dtype) -> str:
    """As a precision is called."""
    return next((name for name, known in _DTYPES.items() if known == dtype), str(dtype))


def _best_on_cuda(device: torch.device) -> torch.dtype:
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        is_old = properties.gcnArchName.startswith(_AMD_WITHOUT_BF16)
        return torch.float16 if is_old else torch.bfloat16
    if properties.major >= _AMPERE:
        return torch.bfloat16
    broken = (*_BROKEN_FP16, *_BROKEN_FP16_QUADRO)
    is_sound = not any(name in properties.name for name in broken)
    return torch.float16 if properties.major >= _VOLTA and is_sound else torch.float32


def _best_on_mps(device: torch.device) -> torch.dtype:
    release = platform.mac_ver()[0].partition(".")[0]
    is_new = release.isdigit() and int(release) >= _MACOS_WITH_BF16
    return torch.bfloat16 if is_new else torch.float16


def _best_on_xpu(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if torch.xpu.is_bf16_supported() else torch.float16


_BEST: Mapping[str, Callable[[torch.device], torch.dtype]] = {
    "cuda": _best_on_cuda,
    "mps": _best_on_mps,
    "xpu": _best_on_xpu,
}
