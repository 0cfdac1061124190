"""What running out of memory looks like: torch has a type for some kinds, and only words for others."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import torch

from ..errors import PartlyLoadedError

CANDIDATES = (RuntimeError, MemoryError, PartlyLoadedError)
"""Types of all errors that may mean it; ``is_out_of_memory`` says which do."""

_ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", None)  # from torch 2.8 on
_MEMORY_ALLOCATION = 2  # cudaErrorMemoryAllocation, and HIP's
# In lower case, from the sources of torch and of the libraries that it calls.
_PHRASES = (
    "out of memory",  # CUDA's, HIP's, XPU's and MPS' allocators, and asynchronous errors of theirs
    "can't allocate memory",  # CPU, Linux and macOS
    "not enough memory: you tried to allocate",  # CPU, Windows
    "invalid buffer size",  # MPS, one tensor above what Metal allows
    "cublas_status_alloc_failed",
    "hipblas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cusolver_status_alloc_failed",
    "mkldnn_out_of_memory",
    "ur_result_error_out_of_device_memory",  # XPU's driver
    "ur_result_error_out_of_host_memory",
    "ur_result_error_out_of_resources",
    "unable to find a valid cudnn algorithm",  # how cuDNN says that its workspace does not fit
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the device or in RAM."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError, PartlyLoadedError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    is_accelerator_error = _ACCELERATOR_ERROR and isinstance(error, _ACCELERATOR_ERROR)
    if is_accelerator_error and getattr(error, "error_code", None) == _MEMORY_ALLOCATION:
        return True
    text = str(error).lower()
    return any(phrase in text for phrase in _PHRASES)


def empty_caches() -> None:
    """Give back what allocators hold for later, and forget an asynchronous error that was reported already."""
    for backend in _backends():
        try:
            backend.synchronize()
        except RuntimeError:
            pass  # the error that is being dealt with, told a second time
        backend.empty_cache()


def _backends() -> Iterator[ModuleType]:
    if torch.cuda.is_available():
        yield torch.cuda
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        yield torch.xpu
    if torch.backends.mps.is_available():
        yield torch.mps
