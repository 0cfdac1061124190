"""What a machine is, as far as it decides how a model runs there."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import torch

from ..errors import SamplingError
from ..model.kernels import KERNELS, best_kernel, choose_kernel
from ..runtime.memory import GIB
from ..runtime.precision import best_dtype, name_of_dtype

_PACKAGES = (
    "comfyui-layerflow",
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "safetensors",
    "numpy",
    "av",
    "triton",
    "triton-windows",
    "sageattention",
    "flash-attn",
    "xformers",
    "torchao",
)


def describe_machine(device: torch.device) -> dict[str, str]:
    """Facts by name: system, memory, device, versions, and what ``auto`` chooses there."""
    import psutil

    dtype = best_dtype(device)
    kernel = best_kernel(device, dtype)
    describe = _DEVICES.get(device.type, lambda _: {})
    return {
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "processor": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "RAM": f"{psutil.virtual_memory().total / GIB:.0f} GiB, "
        f"{psutil.virtual_memory().available / GIB:.0f} free",
        "device": device.type,
        **describe(device),
        "precision auto": name_of_dtype(dtype),
        "attention auto": kernel,
        "attention that runs": ", ".join(runnable_kernels(device, dtype)),
        "packages": ", ".join(f"{name} {found}" for name, found in installed_packages().items()),
    }


def installed_packages() -> dict[str, str]:
    """Versions by name, of those that are there."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def runnable_kernels(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Those that are installed and take a few tokens there."""
    found = []
    for name in KERNELS:
        try:
            found.append(choose_kernel(name, device, dtype))
        except SamplingError:
            continue
    return found


def _describe_cuda(device: torch.device) -> dict[str, str]:
    properties = torch.cuda.get_device_properties(device)
    maker = "ROCm" if torch.version.hip else "CUDA"
    architecture = getattr(properties, "gcnArchName", "") if torch.version.hip else ""
    free, total = torch.cuda.mem_get_info(device)
    return {
        "device": f"{properties.name}, {properties.multi_processor_count} multiprocessors",
        "architecture": architecture or f"{properties.major}.{properties.minor}",
        "device memory": f"{total / GIB:.1f} GiB, {free / GIB:.1f} free",
        "built for": f"{maker} {torch.version.hip or torch.version.cuda}",
        "cuDNN": str(torch.backends.cudnn.version()),
    }


def _describe_xpu(device: torch.device) -> dict[str, str]:
    properties = torch.xpu.get_device_properties(device)
    return {
        "device": properties.name,
        "device memory": f"{properties.total_memory / GIB:.1f} GiB",
    }


def _describe_mps(device: torch.device) -> dict[str, str]:
    return {
        "device": f"Apple, macOS {platform.mac_ver()[0]}",
        "device memory": f"{torch.mps.recommended_max_memory() / GIB:.1f} GiB of RAM at most",
    }


_DEVICES: Mapping[str, Callable[[torch.device], dict[str, str]]] = {
    "cuda": _describe_cuda,
    "xpu": _describe_xpu,
    "mps": _describe_mps,
}
