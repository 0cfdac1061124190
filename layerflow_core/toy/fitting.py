"""The one optimisation loop behind the embedded model's trainings.

Several one-thread processes with averaged gradients: on a small model that is faster than one process with
several threads. The result depends on the seed, the step count and the number of processes, not on the clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..training.optimisers import Rates, build_optimisers, is_block_matrix
from ..training.trainer import warm_up_and_cosine

BETAS = (0.9, 0.98)
DRAWS_PER_STEP = 1 << 20  # room for one step's scene seeds; keeps two steps from ever sharing a scene


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast.

    Args:
        steps: optimiser steps.
        rate: peak learning rate of AdamW; reached after ``warm_up`` steps, then a half cosine to zero.
        matrix_rate: the same of Muon, for the parameters that ``fit`` is told are matrices.
        decay: length-weighted exponential average factor of the weights that are kept, 0 = the last ones.
    """

    steps: int
    rate: float
    matrix_rate: float = 0.0
    warm_up: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    save_every: int = 100
    log_every: int = 25
    decay: float = 0.0

    def share_at(self, step: int) -> float:
        """Share of the peak rates."""
        return warm_up_and_cosine(step, self.steps, self.warm_up)


def run_workers(count: int, work: Callable[..., None], *arguments) -> None:
    """Call ``work(rank, *arguments)`` in ``count`` one-thread processes that can average gradients."""
    port = 29400 + os.getpid() % 1000
    torch.multiprocessing.spawn(_start, (count, port, work, arguments), nprocs=count)


def _start(rank: int, count: int, port: int, work: Callable[..., None], arguments: tuple) -> None:
    torch.set_num_threads(1)
    # By these names Accelerate knows that it is one of several processes without a GPU.
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    dist.init_process_group("gloo")
    try:
        work(rank, *arguments)
    finally:
        if dist.is_initialized():  # a trainer that came to its end has left the group
            dist.destroy_process_group()


class Optimisers:
    """The optimisers of a model, stepped together."""

    def __init__(self, model: nn.Module, plan: FitPlan, is_matrix: Callable[[str], bool]) -> None:
        self.plan = plan
        self.peaks = build_optimisers(model.named_parameters(), Rates(plan.rate, plan.matrix_rate, BETAS, plan.weight_decay), is_matrix)

    def step(self, step: int) -> None:
        for part, peak in self.peaks.items():
            for group in part.param_groups:
                group["lr"] = peak * self.plan.share_at(step)
            part.step()

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.peaks]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.peaks, states, strict=True):
            part.load_state_dict(state)


def fit(
    model: nn.Module,
    loss_of: Callable[[int, torch.Generator], dict[str, Tensor]],
    plan: FitPlan,
    state_file: Path,
    name: str,
    is_matrix: Callable[[str], bool] = is_block_matrix,
) -> None:
    """Minimise ``loss_of(step, generator)["loss"]``; the further entries are only logged.

    Resumes from ``state_file`` if it exists. Every process draws its own data: the generator differs by rank.
    """
    rank, count = dist.get_rank(), dist.get_world_size()
    optimiser = Optimisers(model, plan, is_matrix)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()} if plan.decay else {}
    first = _resume(model, optimiser, average, state_file)
    logged: dict[str, list[float]] = {}
    started = time.time()
    for step in range(first, plan.steps):
        generator = torch.Generator().manual_seed((step * count + rank) * 7919 + 17)
        terms = loss_of(step, generator)
        model.zero_grad(set_to_none=True)
        terms["loss"].backward()
        _average_gradients(model, count)
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimiser.step(step)
        _follow(average, model, plan.decay, step)
        for key, value in terms.items():
            logged.setdefault(key, []).append(float(value.detach()))
        if rank == 0 and (step + 1) % plan.log_every == 0:
            means = "  ".join(f"{k} {sum(v) / len(v):.4f}" for k, v in logged.items() if v)
            print(f"{name} {step + 1}/{plan.steps}  {means}  {time.time() - started:.0f} s", flush=True)
            logged = {}
        if rank == 0 and ((step + 1) % plan.save_every == 0 or step + 1 == plan.steps):
            _save(model, optimiser, average, step + 1, state_file)
    if average:
        model.load_state_dict(average)
    dist.barrier()


def _average_gradients(model: nn.Module, count: int) -> None:
    parameters = [p for p in model.parameters() if p.grad is not None]
    flat = torch.cat([p.grad.reshape(-1) for p in parameters])
    dist.all_reduce(flat)
    flat /= count
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.grad.copy_(part.view_as(p))


def _follow(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    factor = min(decay, (step + 1) / (step + 10))
    for key, value in model.state_dict().items() if average else ():
        average[key].lerp_(value.to(average[key].dtype), 1 - factor)


def _resume(model: nn.Module, optimiser: Optimisers, average: dict[str, Tensor], state_file: Path) -> int:
    if not state_file.exists():
        return 0
    state = torch.load(state_file, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    for key in average:
        average[key].copy_(state["average"][key])
    return state["step"]


def _save(model: nn.Module, optimiser: Optimisers, average: dict[str, Tensor], step: int, state_file: Path) -> None:
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average, "step": step}
    partial = state_file.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(state_file)
