"""Every kind of running out of memory, as torch and its libraries put it."""

import pytest
import torch

from layerflow_core.errors import OutOfMemoryError, PartlyLoadedError
from layerflow_core.runtime import out_of_memory
from layerflow_core.runtime.memory import NETWORK_PLANS, FallbackPlans
from layerflow_core.runtime.out_of_memory import is_out_of_memory


def accelerator_error(text, code=None):
    """As the driver's errors are: a type of its own from torch 2.8 on."""
    error = getattr(torch, "AcceleratorError", RuntimeError)(text)
    if code is not None:
        error.error_code = code
    return error


KINDS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.cuda.OutOfMemoryError("Allocation on device"),
    accelerator_error("CUDA error: out of memory"),
    accelerator_error("HIP error: something new", 2),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    RuntimeError("Invalid buffer size: 24.00 GB"),
    RuntimeError("XPU out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes."),
    MemoryError(),
    PartlyLoadedError("got only some of it"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("Expected all tensors to be on the same device"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    accelerator_error("CUDA error: an illegal memory access was encountered", 700),
    ValueError("out of memory"),
    OutOfMemoryError("not even the smallest plan fits"),
]


def name_of(error):
    return f"{type(error).__name__}: {error}"[:60]


@pytest.mark.parametrize("error", KINDS, ids=name_of)
def test_the_next_plan_is_taken(error, caplog):
    tried = []

    def work(plan):
        tried.append(plan)
        if len(tried) == 1:
            raise error
        return "done"

    assert is_out_of_memory(error)
    assert FallbackPlans("transformer", NETWORK_PLANS).run(work) == "done"
    assert tried == list(NETWORK_PLANS[:2])
    assert caplog.text.count("out of memory") == 1


@pytest.mark.parametrize("error", KINDS, ids=name_of)
def test_the_last_plan_ends_in_our_error(error):
    def work(plan):
        raise error

    with pytest.raises(OutOfMemoryError, match="block by block"):
        FallbackPlans("transformer", NETWORK_PLANS[-1:]).run(work)


@pytest.mark.parametrize("error", OTHERS, ids=name_of)
def test_other_errors_are_not_taken_for_it(error):
    def work(plan):
        raise error

    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as caught:
        FallbackPlans("transformer", NETWORK_PLANS).run(work)
    assert caught.value is error


def test_an_error_that_is_told_twice_does_not_stop_the_clearing(monkeypatch):
    emptied = []

    class Backend:
        @staticmethod
        def synchronize():
            raise RuntimeError("CUDA error: out of memory")

        @staticmethod
        def empty_cache():
            emptied.append(True)

    monkeypatch.setattr(out_of_memory, "_backends", lambda: [Backend])
    out_of_memory.empty_caches()
    assert emptied == [True]
