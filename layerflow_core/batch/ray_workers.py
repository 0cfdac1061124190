"""Shots on a Ray cluster, or on several processes of this machine: one actor a GPU, each keeping its model.

Folders and files are the same on all machines of a cluster, as on a farm's shared disk.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic import remove_abandoned
from ..errors import BatchError
from .worker import FAILED, ShotResult, ShotTask, Worker

AUTO_ADDRESS = "auto"
"""The cluster that runs here, or one that is started for the batch."""
MOST_TRIES = 3
"""Workers that a shot may lose; one that takes its machine down does so every time."""


class RayActor:
    """What an actor is: a worker that is made when its first shot comes."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._make_worker = make_worker
        self._worker: Worker | None = None

    def run(self, task: ShotTask) -> ShotResult:
        if self._worker is None:
            self._worker = self._make_worker()
        return self._worker.run(task)


@dataclass
class _Call:
    """A shot at work."""

    actor: Any
    task: ShotTask
    tries: int


@dataclass(frozen=True)
class RayWorkers:
    """An engine, see ``running.Engine``.

    Args:
        make_worker: (threads of a CPU worker; 0 on a GPU) to a worker, in its own process.
        address: of the cluster, or ``AUTO_ADDRESS``.
        count: of workers; 0: one for each GPU, and without GPUs one for each machine.
    """

    make_worker: Callable[[int], Worker]
    address: str = AUTO_ADDRESS
    count: int = 0

    def __call__(self, tasks: Sequence[ShotTask]) -> Iterator[ShotResult]:
        """Raises BatchError: no Ray, no such cluster, fewer GPUs than workers, or a negative count."""
        if self.count < 0:
            raise BatchError(f"got {self.count} workers, expected 1 or more, or 0 to choose")
        if not tasks:
            return
        with _connected(self.address) as ray:
            yield from _Pool(ray, self, len(tasks)).run(tasks)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise BatchError(
            'got --ray, and Ray is not installed: pip install "comfyui-layerflow[ray]"'
        ) from error

    where = None if address == AUTO_ADDRESS else address
    try:
        ray.init(where, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BatchError(
            f"--ray {ascii(address)[:100]}: expected auto or the address of a cluster: {error}"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


class _Pool:
    """Actors, one shot each at a time."""

    def __init__(self, ray: Any, workers: RayWorkers, shots: int) -> None:
        self._ray = ray
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        machines = sum(node["Alive"] for node in ray.nodes())
        wanted = workers.count or gpus or machines
        if gpus and wanted > gpus:
            raise BatchError(f"got {wanted} workers, the cluster has {gpus} GPUs: one for each")
        self._count = min(wanted, shots)
        # Two workers on one machine share its cores; torch alone would take all of them for each.
        cores = math.floor(resources.get("CPU", 1) / wanted)
        share = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": cores}
        threads = 0 if gpus else max(1, cores)
        make = workers.make_worker
        actor = ray.remote(max_restarts=0, **share)(RayActor)
        self._start = lambda: actor.remote(lambda: make(threads))

    def run(self, tasks: Sequence[ShotTask]) -> Iterator[ShotResult]:
        waiting = deque((task, 1) for task in tasks)
        idle = [self._start() for _ in range(self._count)]
        calls: dict[Any, _Call] = {}
        try:
            while waiting or calls:
                while idle and waiting:
                    task, tries = waiting.popleft()
                    actor = idle.pop()
                    calls[actor.run.remote(task)] = _Call(actor, task, tries)
                (ready,), _ = self._ray.wait(list(calls), num_returns=1)
                call = calls.pop(ready)
                result = self._result_of(ready, call)
                idle.append(call.actor if result else self._start())
                if result is None and call.tries < MOST_TRIES:
                    waiting.appendleft((call.task, call.tries + 1))
                else:
                    yield result or _lost(call.task)
        finally:
            for actor in [*idle, *(call.actor for call in calls.values())]:
                self._ray.kill(actor)
            self._leave_nothing_half(calls.values())

    def _result_of(self, ready: Any, call: _Call) -> ShotResult | None:
        """None where the worker was lost."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ready)
        except (errors.ActorDiedError, errors.ActorUnavailableError, errors.NodeDiedError):
            return None
        except errors.RayTaskError as error:
            raise BatchError(f"a worker cannot start: {error.cause}") from error

    def _leave_nothing_half(self, calls: Sequence[_Call]) -> None:
        """Remove what killed workers of this machine were writing."""
        folders = {call.task.shot.folder.parent for call in calls}
        if folders:
            self._ray.shutdown()  # waits for the processes
        for folder in folders:
            remove_abandoned(Path(folder))


def _lost(task: ShotTask) -> ShotResult:
    message = f"{MOST_TRIES} workers were lost with it: is there memory enough?"
    return ShotResult(task.shot.number, FAILED, message=message)
