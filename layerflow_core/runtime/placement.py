"""Parts at work: on their device under the plan that fits, and out of the way afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from ..layout import Layout
from ..model.fp8 import widened
from ..model.loading import LayerFlowModel
from ..model.residence import bring, drop
from ..model.text import TextEncoder
from ..model.vae import VAE_MODES, VaeMode
from .block_fetching import fetched_by_block
from .devices import Devices, multiplies_halves
from .memory import (
    NETWORK_PLANS,
    TEXT_PLANS,
    FallbackPlans,
    PartPlan,
    size_at_work,
    size_of,
)
from .peaks import TEXT_PEAK, network_peak, vae_peak

T = TypeVar("T")
_CPU = torch.device("cpu")
_SPARE = 1.1  # memory is never in one piece


def for_text(devices: Devices, text: TextEncoder) -> Placement:
    return Placement(
        "text encoder", text.t5, text.t5.encoder, devices, TEXT_PLANS, lambda plan: TEXT_PEAK
    )


def for_network(devices: Devices, model: LayerFlowModel, kept: int = 0) -> Placement:
    """The transformer at work; ``kept`` bytes stay allocated from one call to the next."""
    network = model.network
    device = devices.device(network)

    def peak(plan: PartPlan) -> int:
        branches = 2 if plan.branches_together else 1
        return network_peak(model, branches, device) + kept

    return Placement("transformer", network, network.backbone, devices, NETWORK_PLANS, peak)


def for_vae(devices: Devices, model: LayerFlowModel, layout: Layout) -> Placement:
    vae = model.require_vae().vae
    device = devices.device(vae)
    modes = [mode for mode in VAE_MODES if not (mode.on_cpu and device.type == "cpu")]

    def peak(mode: VaeMode) -> int:
        return vae_peak(model, layout, mode, device)

    return Placement("VAE", vae, vae, devices, modes, peak)


class Placement:
    """A part at work under one of its plans; leaving it gives the memory back, also after an error or a cancel.

    Args:
        name: for messages.
        holder: the module within the part that has the list of blocks, which can be fetched one by
            one, as a direct child; in the order in which they are called.
        peak: bytes that the work of a plan takes beside the weights.
    """

    def __init__(
        self,
        name: str,
        part: nn.Module,
        holder: nn.Module,
        devices: Devices,
        plans: Sequence[PartPlan | VaeMode],
        peak: Callable[[Any], int] = lambda plan: 0,
    ) -> None:
        self._part = part
        self._holder = holder
        self._devices = devices
        self._peak = peak
        self._stack = ExitStack()
        self._place: tuple[bool, bool] | None = None
        self._blocks = _blocks_of(holder)
        self._free = devices.free(part)
        self._fallbacks = FallbackPlans(name, plans, self._need, self._free)
        self.device = devices.device(part)

    def run(self, work: Callable[[Any], T]) -> T:
        """Work under the plan in use; out of memory continues with the next. Raises OutOfMemoryError."""
        return self._fallbacks.run(lambda plan: self._under(plan, work))

    def __enter__(self) -> Placement:
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _need(self, plan: PartPlan | VaeMode) -> int:
        return math.ceil((size_at_work(self._part, self._blocks, plan) + self._peak(plan)) * _SPARE)

    def _beside(self, plan: PartPlan | VaeMode) -> int:
        """Bytes beside the weights; nothing is counted where that decides nothing."""
        if self._free is None or self._fallbacks.is_last:
            return 0
        return self._need(plan) - size_of(self._part)

    def _under(self, plan: PartPlan | VaeMode, work: Callable[[Any], T]) -> T:
        place = (plan.by_block, plan.on_cpu)
        if self._place != place:
            self._stack.close()
            self._place = None
            self._stack.enter_context(self._resident(plan))
            self._stack.enter_context(widened(self._part))
            self._place = place
        return work(plan)

    @contextmanager
    def _resident(self, plan: PartPlan | VaeMode) -> Iterator[None]:
        if plan.on_cpu:
            self._devices.make_room(self._part, 0)
            with _on_cpu(self._part):
                yield
        elif plan.by_block:
            room = None if self._fallbacks.is_last else self._need(plan)
            self._devices.make_room(self._part, room)
            with fetched_by_block(self._part, self._blocks, self.device):
                yield
        else:
            try:
                self._devices.use(self._part, self._beside(plan))
                yield
            finally:
                self._devices.release(self._part)


def _blocks_of(holder: nn.Module) -> list[nn.Module]:
    lists = [child for child in holder.children() if isinstance(child, nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


@contextmanager
def _on_cpu(part: nn.Module) -> Iterator[None]:
    """Inside this context a part computes in RAM: in float32 where the CPU has no fast numbers of 16 bits."""
    dtypes = {parameter.dtype for parameter in part.parameters()}
    is_fast = dtypes == {torch.bfloat16} and multiplies_halves(_CPU)
    try:
        bring(part, _CPU, None if is_fast else torch.float32)
        yield
    finally:
        drop(part)
