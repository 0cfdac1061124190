"""One run on several processes, launched by torchrun: the branches of guidance side by side, and the sequence split.

Every process walks through the whole run and holds the whole network; only calls of the network are shared out. So
all of them know the same latents, and the first one alone writes files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SamplingError
from ..model.attention import parallel_attention

BRANCHES = 2
_PATIENCE = timedelta(minutes=30)  # one process may load a file for a long time


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run, and this one among them.

    Args:
        rank, size: of this process, and of all.
        context: over how many processes the sequence is split.
        mesh: torch's device mesh of branches, ring and ulysses; None for one process.
    """

    rank: int = 0
    size: int = 1
    context: int = 1
    mesh: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def _splits_branches(self) -> bool:
        return self.size // self.context == BRANCHES

    def compute(
        self, call: Callable[[Sequence[int]], Tensor], branches: Sequence[int], together: bool
    ) -> Tensor:
        """The outputs of all branches, [branches, ...], each computed by the processes it belongs to.

        Args:
            together: one process computes its branches in one call, not one after the other.
        """
        if not self._splits_branches or len(branches) < BRANCHES:
            return (
                call(branches) if together else torch.cat([call([branch]) for branch in branches])
            )
        import torch.distributed as dist

        group = self.mesh.get_group("branches")
        mine = call([branches[dist.get_rank(group)]]).contiguous()
        gathered = [torch.empty_like(mine) for _ in branches]
        dist.all_gather(gathered, mine, group=group)
        return torch.cat(gathered)

    def broadcast(self, value: Tensor | None) -> Tensor | None:
        """What the first process has, on all of them."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    @contextmanager
    def sequence_parallel(self, backbone: nn.Module) -> Iterator[None]:
        """Inside this context each process attends for a part of the heads and holds a part of the tokens.

        That is DeepSpeed-Ulysses (arXiv 2309.14509), by diffusers' hooks.
        """
        if self.context == 1:
            yield
            return
        from diffusers import ContextParallelConfig
        from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel
        from diffusers.models._modeling_parallel import ParallelConfig

        parallel = ParallelConfig(
            ContextParallelConfig(ulysses_degree=self.context, ulysses_anything=True)
        )
        device = backbone.patch_embed.proj.weight.device
        parallel.setup(self.rank, self.size, device, mesh=self.mesh["ring", "ulysses"])
        plan = _sequence_plan()
        apply_context_parallel(backbone, parallel.context_parallel_config, plan)
        try:
            with parallel_attention(backbone, parallel):
                yield
        finally:
            remove_context_parallel(backbone, plan)


SINGLE_PROCESS = ProcessGroup()


def _sequence_plan() -> dict:
    """Where the sequence is split and put together.

    Positions are added before the first block, so tokens may be dealt out in any order.
    """
    from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput

    split = ContextParallelInput(split_dim=1, expected_dims=3)
    return {
        "transformer_blocks.0": {"hidden_states": split, "encoder_hidden_states": split},
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
    }


def join_process_group(device: torch.device, context: int | None = None) -> ProcessGroup:
    """The group that torchrun launched this process in; ``SINGLE_PROCESS`` without torchrun.

    Args:
        context: over how many processes the sequence is split; None: what the two branches of guidance leave over.

    Raises:
        SamplingError: processes that cannot be shared out, or a diffusers without parallelism.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return SINGLE_PROCESS
    context = context or max(1, size // BRANCHES)
    if size not in (context, BRANCHES * context):
        raise SamplingError(
            f"got {size} processes and a sequence split {context} times, expected {context} or "
            f"{BRANCHES * context} processes"
        )
    _check_diffusers(context)
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    mesh = init_device_mesh(
        device.type, (size // context, 1, context), mesh_dim_names=("branches", "ring", "ulysses")
    )
    return ProcessGroup(dist.get_rank(), size, context, mesh)


def local_device(device: torch.device) -> torch.device:
    """This process's own of several GPUs."""
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


def leave_process_group() -> None:
    """To be called before a process ends that may have joined one."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _check_diffusers(context: int) -> None:
    import inspect

    import diffusers

    config = getattr(diffusers, "ContextParallelConfig", None)
    if context > 1 and (
        config is None or "ulysses_anything" not in inspect.signature(config).parameters
    ):
        raise SamplingError(
            f"got a split sequence, diffusers {diffusers.__version__} cannot split any length: "
            "install a newer one, or take two processes"
        )
