"""Where parts stand while they work: the host's memory management behind a small protocol."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from .memory import size_of


class Devices(Protocol):
    """Who puts which part where."""

    def device(self, part: nn.Module) -> torch.device:
        """Where a part computes."""

    def free(self, part: nn.Module) -> int | None:
        """Bytes that a part and its work may use there, once other models have given way; None if nobody knows."""

    def use(self, part: nn.Module, beside: int) -> None:
        """Bring a part to its device, with room for N bytes beside it."""

    def make_room(self, part: nn.Module, size: int) -> None:
        """See that N bytes are free on the part's device; the part itself stays where it is."""

    def release(self, part: nn.Module) -> None:
        """The run does not need the part any more."""


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

    def make_room(self, part: nn.Module, size: int) -> None:
        pass

    def release(self, part: nn.Module) -> None:
        pass


class OffloadingDevices:
    """One torch device: a part is there while it works and in RAM otherwise."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def device(self, part: nn.Module) -> torch.device:
        return self._device

    def free(self, part: nn.Module) -> int | None:
        if self._device.type == "cuda":
            return (
                torch.cuda.mem_get_info(self._device)[0]
                + torch.cuda.memory_reserved(self._device)
                - torch.cuda.memory_allocated(self._device)
            )
        import psutil

        return psutil.virtual_memory().available + size_of(
            part
        )  # a plan's need includes the weights, which are in RAM already

    def use(self, part: nn.Module, beside: int) -> None:
        part.to(self._device)

    def make_room(self, part: nn.Module, size: int) -> None:
        self.release(part)

    def release(self, part: nn.Module) -> None:
        if self._device.type != "cpu":
            part.to("cpu")
            torch.cuda.empty_cache()
