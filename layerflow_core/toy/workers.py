"""Several processes of one thread each: on a small model that is faster than one process with several threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from ..atomic import replacing
from ..training.trainer import Trainer


def run_workers(count: int, work: Callable[..., None], *arguments) -> None:
    """Call ``work(rank, *arguments)`` in ``count`` one-thread processes that can average gradients."""
    port = 29400 + os.getpid() % 1000
    torch.multiprocessing.spawn(_start, (count, port, work, arguments), nprocs=count)


def _start(rank: int, count: int, port: int, work: Callable[..., None], arguments: tuple) -> None:
    torch.set_num_threads(1)
    # By these names Accelerate knows that it is one of several processes without a GPU.
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update(
        {name: str(value) for name, value in place.items()},
        ACCELERATE_USE_CPU="true",
        OMP_NUM_THREADS="1",
    )
    dist.init_process_group("gloo")
    try:
        work(rank, *arguments)
    finally:
        if dist.is_initialized():  # a trainer that came to its end has left the group
            dist.destroy_process_group()


def final_weights(root: Path, name: str) -> Path:
    """Where a finished training's weights lie."""
    return root / f"{name}_final.pt"


def finish(trainer: Trainer, module: nn.Module, target: Path) -> None:
    """Run a trainer to its end and write the weights of the module that it trains; nothing if it is told to stop."""
    if trainer.run() and trainer.accelerator.is_main_process:
        with trainer.kept_weights(), replacing(target) as partial:
            torch.save(module.state_dict(), partial)
