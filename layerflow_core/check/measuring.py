"""Time and memory of work on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..pipeline import SilentObserver
from ..runtime.memory import GIB
from ..runtime.out_of_memory import empty_caches

_ENOUGH = 2.0  # seconds after which a call is not repeated: on a slow card one is a minute


@dataclass
class Measure:
    """Seconds of the work, and the most bytes that torch's allocator gave out, weights included; None if unknown."""

    seconds: float = 0.0
    peak: int | None = None


@contextmanager
def measured(device: torch.device) -> Iterator[Measure]:
    """Measures what is done inside the context."""
    measure = Measure()
    empty_caches()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    yield measure
    wait_for(device)
    measure.seconds = time.perf_counter() - started
    if device.type == "cuda":
        measure.peak = torch.cuda.max_memory_allocated(device)


def fastest(call: Callable[[], object], device: torch.device, calls: int = 3) -> float:
    """Seconds of the fastest call; the first one is not counted where there is time for another."""
    times: list[float] = []
    while len(times) < calls and sum(times) < _ENOUGH:
        wait_for(device)
        started = time.perf_counter()
        call()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return min(times)


def wait_for(device: torch.device) -> None:
    """Until a device has done what it was told."""
    backend = getattr(torch, device.type, None)
    if device.type != "cpu" and backend is not None:
        backend.synchronize()


class StageTimes(SilentObserver):
    """Seconds of each stage of a run."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began: list[tuple[str, float]] = []

    def stage(self, name: str) -> None:
        wait_for(self._device)
        self._began.append((name, time.perf_counter()))

    def end(self) -> str:
        """The last stage ends; ``name seconds`` of all."""
        self.stage("")
        pairs = zip(self._began, self._began[1:])
        return ", ".join(f"{name} {end - start:.1f}" for (name, start), (_, end) in pairs)


def gib(size: float | None) -> str:
    return "-" if size is None else f"{size / GIB:.2f}"


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Root of the mean squared difference, relative to that of theirs."""
    ours = ours.float().cpu()
    theirs = theirs.float().cpu()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))
