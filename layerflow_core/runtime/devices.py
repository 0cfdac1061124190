"""Where parts stand while they work: the host's memory management behind a small protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import nn

from ..model.residence import bring, drop
from .memory import size_of
from .out_of_memory import empty_caches


class Devices(Protocol):
    """Who puts which part where."""

    def device(self, part: nn.Module) -> torch.device:
        """Where a part computes."""

    def free(self, part: nn.Module) -> int | None:
        """Bytes that a part and its work may use there, once other models have given way; None if nobody knows."""

    def use(self, part: nn.Module, beside: int) -> None:
        """Bring a part to its device, all of it, with room for N bytes beside it.

        Raises:
            PartlyLoadedError, or what torch raises when memory runs out: then none of it is there.
        """

    def make_room(self, part: nn.Module, size: int | None) -> None:
        """Take a part off its device, and others until N bytes are free there; None takes all off."""

    def release(self, part: nn.Module) -> None:
        """The run does not need the part for now; it may stay while nobody else needs the room."""


def multiplies_halves(device: torch.device) -> bool:
    """Whether numbers of 16 bits are fast there.

    A CPU without AVX-512 has to emulate them: a matrix product takes about seven times float32's time.
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def fast_autocast(device: torch.device) -> torch.autocast:
    """Bfloat16 where it is fast, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_halves(device))


class InPlaceDevices:
    """Leaves every part where it is."""

    def device(self, part: nn.Module) -> torch.device:
        return next(part.parameters()).device

    def free(self, part: nn.Module) -> int | None:
        return None

    def use(self, part: nn.Module, beside: int) -> None:
        pass

    def make_room(self, part: nn.Module, size: int | None) -> None:
        pass

    def release(self, part: nn.Module) -> None:
        pass


class OffloadingDevices:
    """One torch device, to which parts come to work; they stay until others need the room."""

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)
        self._there: list[nn.Module] = []  # those that wait longest for their next work come first

    def device(self, part: nn.Module) -> torch.device:
        return self._device

    def free(self, part: nn.Module) -> int | None:
        if self._device.type == "cpu":
            return _free_ram() + size_of(part)  # a plan's need has the weights, which are in RAM
        count = _FREE_BYTES.get(self._device.type)
        if count is None:
            return None
        return count(self._device) + sum(size_of(other) for other in self._there)

    def use(self, part: nn.Module, beside: int) -> None:
        if self._device.type == "cpu":
            return
        is_there = any(other is part for other in self._there)
        missing = 0 if is_there else size_of(part)
        self._forget(part)
        self._take_off_until(missing + beside)
        bring(part, self._device)
        self._there.append(part)

    def make_room(self, part: nn.Module, size: int | None) -> None:
        if any(other is part for other in self._there):
            self._forget(part)
            self._take_off(part)
        self._take_off_until(size)

    def release(self, part: nn.Module) -> None:
        pass

    def _forget(self, part: nn.Module) -> None:
        self._there = [other for other in self._there if other is not part]

    def _take_off_until(self, size: int | None) -> None:
        count = _FREE_BYTES.get(self._device.type)
        while self._there and (size is None or count is None or count(self._device) < size):
            self._take_off(self._there.pop(0))

    def _take_off(self, part: nn.Module) -> None:
        drop(part)
        empty_caches()


def _free_ram() -> int:
    import psutil

    return psutil.virtual_memory().available


def _free_on_cuda(device: torch.device) -> int:
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved


def _free_on_xpu(device: torch.device) -> int:
    total = torch.xpu.get_device_properties(device).total_memory
    return total - torch.xpu.memory_allocated(device)


def _free_on_mps(device: torch.device) -> int:
    """The memory is RAM, of which Metal gives a process a share."""
    share = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return min(share, _free_ram())


_FREE_BYTES: Mapping[str, Callable[[torch.device], int]] = {
    "cuda": _free_on_cuda,
    "xpu": _free_on_xpu,
    "mps": _free_on_mps,
}
"""By a device's type, bytes that torch can still give out there; nobody knows for other types."""
