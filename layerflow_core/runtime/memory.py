"""What a run needs of memory, told before it starts, and what happens when that was too much.

Peaks are not guessed by formulas: the real module runs on fake tensors, which have shapes and no data, and every
allocation is counted. So whatever diffusers does inside, and whatever a checkpoint's dimensions are, is in the figure.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import OutOfMemoryError

GIB = 1024**3
# Kernels' own workspace, by which measured peaks exceed counted ones (benchmarks/memory.py).
WORKSPACE = 96 * 1024**2
_log = logging.getLogger(__name__)


class Plan(Protocol):
    """A way to run a part, as a row of data."""

    name: str


P, T = TypeVar("P", bound=Plan), TypeVar("T")


@dataclass(frozen=True)
class PartPlan:
    """How a part stands on the computing device.

    Args:
        by_block: only the blocks at work are there, the next one being fetched meanwhile.
        branches_together: the network computes both branches of guidance in one call.
    """

    name: str
    by_block: bool = False
    branches_together: bool = True


# Each from the fastest to the one that needs least.
NETWORK_PLANS = (
    PartPlan("whole on the device, both branches at once"),
    PartPlan("whole on the device, one branch at a time", branches_together=False),
    PartPlan("block by block, one branch at a time", by_block=True, branches_together=False),
)
TEXT_PLANS = (PartPlan("whole on the device"), PartPlan("block by block", by_block=True))


class FallbackPlans(Generic[P]):
    """Plans of one part, and the one in use; each is tried once.

    Args:
        part: its name, for messages.
        plans: from the fastest to the one that needs least.
        peak: bytes that a plan needs.
        free: bytes there are; None if nobody knows, then the first plan is taken.
    """

    def __init__(
        self,
        part: str,
        plans: Sequence[P],
        peak: Callable[[P], int] = lambda plan: 0,
        free: int | None = None,
    ) -> None:
        self._part, self._plans, self._free = part, list(plans), free
        if free is None:
            return
        needs = {}
        while True:
            needs[self.plan.name] = peak(self.plan)
            if needs[self.plan.name] <= free or len(self._plans) == 1:
                break
            self._plans.pop(0)
        _log.info(
            "%s: %s, %.1f of %.1f GiB that are free",
            part,
            self.plan.name,
            needs[self.plan.name] / GIB,
            free / GIB,
        )

    @property
    def plan(self) -> P:
        return self._plans[0]

    def run(self, work: Callable[[P], T]) -> T:
        """Work under the plan; out of memory continues with the next one.

        Raises:
            OutOfMemoryError: not even the last one fits.
        """
        while True:
            try:
                return work(self.plan)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(self._plans) == 1:
                    raise OutOfMemoryError(
                        f"out of memory: {self._part} {self.plan.name} is the plan that needs "
                        "least; close what else uses memory, "
                        "take a checkpoint in fp8, or a VAE and text encoder in fewer bits"
                    ) from error
            # Outside of the handler, whose error would keep the failed work's tensors alive.
            spent = self._plans.pop(0)
            _log.warning(
                "out of memory: %s %s; continuing %s", self._part, spent.name, self.plan.name
            )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """On a GPU a type of its own; on a CPU torch has only words for it."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


def size_of(module: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def size_at_work(module: nn.Module, blocks: Sequence[nn.Module], plan: PartPlan) -> int:
    """Bytes of the weights that stand on the device at a time."""
    if not plan.by_block:
        return size_of(module)
    sizes = [size_of(block) for block in blocks]
    return size_of(module) - sum(sizes) + 2 * max(sizes, default=0)  # the one at work and the next


def count_peak(module: nn.Module, call: Callable[[nn.Module], object], device: torch.device) -> int:
    """Largest number of bytes that a call allocates beside the weights, without computing anything.

    Args:
        call: gets a module that takes its place; makes its inputs itself.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    eagerly = getattr(
        torch.compiler, "set_stance", lambda _: nullcontext()
    )  # only a torch that has it compiles our blocks
    with (
        eagerly("force_eager"),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.inference_mode(),
        torch.device(device),
    ):
        state = {
            name: _as_computed(t, device)
            for name, t in (*module.named_parameters(), *module.named_buffers())
        }
        with _Counter() as counter:
            call(_Substitute(module, state))
    return counter.peak + WORKSPACE


def _as_computed(tensor: Tensor, device: torch.device) -> Tensor:
    """Of the same shape; matrices in 8 bits are 16 wide while they are used."""
    return torch.empty_like(
        tensor, device=device, dtype=torch.bfloat16 if tensor.element_size() == 1 else tensor.dtype
    )


class _Substitute(nn.Module):
    """A module with other tensors in its place."""

    def __init__(self, module: nn.Module, state: dict[str, Tensor]) -> None:
        super().__init__()
        self._call = lambda *inputs: torch.func.functional_call(module, state, inputs)

    def forward(self, *inputs: Tensor) -> object:
        return self._call(*inputs)


class _Counter(TorchDispatchMode):
    """Counts the bytes of every storage from its first tensor to its last."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen[key] = weakref.ref(storage, lambda _: self._forget(key, size))
            self.live += size
            self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        self._seen.pop(key, None)
        self.live -= size
