"""A batch from its shots to its results: what is done is left alone, what fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BatchError, FailedShotsError
from .checking import read_shots
from .number_ranges import read_ranges
from .progress import BatchProgress
from .ray_workers import RayWorkers
from .shots import SUMMARY, Shot, hash_inputs, is_done
from .summary import NOT_RUN, Entry, write_summary
from .worker import DONE, FAILED, ModelOptions, ShotResult, ShotTask, ShotWorker, Worker


@dataclass(frozen=True)
class Batch:
    """A list of shots, and how it is run.

    Args:
        out: folder of all results.
        defaults: fields of ``ShotFields`` that the list leaves out.
        numbers: of the shots that are wanted, see ``choose_shots``.
        ray: address of a cluster, see ``RayWorkers``; empty: in this process.
        workers: on that cluster.
    """

    list: Path
    out: Path
    defaults: Mapping[str, Any]
    numbers: str = ""
    model: ModelOptions = ModelOptions()
    ray: str = ""
    workers: int = 0


Engine = Callable[[Sequence[ShotTask]], Iterator[ShotResult]]
"""Runs shots and tells of each when it has ended."""
LATENTS = ".latents"
"""Folder beside the shots where sampled latents wait for their decoding."""
KEPT = "kept"
"""State of a shot that was done before."""


@dataclass(frozen=True)
class ShotStates:
    """Shots of a batch that are done, by what stands on disk, and those that are to be run."""

    done: Sequence[Shot]
    waiting: Sequence[ShotTask]


def run_batch(batch: Batch, say: Callable[[str], None]) -> list[ShotResult]:
    """Check the whole list, then run what is not done, telling of every shot in a line.

    Raises:
        BatchError: the list has mistakes; nothing was run.
        FailedShotsError: some shots failed, after all others were run.
    """
    shots = read_shots(batch.list, batch.out, batch.defaults)
    states = look_for_done(choose_shots(shots, batch.numbers), batch.model.describe())
    folders = {shot.number: shot.folder for shot in shots}
    results = [ShotResult(shot.number, KEPT) for shot in states.done]
    for result in results:
        say(_line_of(result, folders))
    progress = BatchProgress(len(states.waiting))
    try:
        for result in _engine_of(batch, progress)(states.waiting):
            progress.finish(result)
            progress.say(_line_of(result, folders))
            results.append(result)
    finally:
        progress.close()
        write_summary(batch.out / SUMMARY, _entries(shots, results, batch.model))
    check_results(results)
    return results


def _engine_of(batch: Batch, progress: BatchProgress) -> Engine:
    latents = batch.out.absolute() / LATENTS
    if batch.ray:
        make = partial(_make_worker, batch.model, latents)
        return RayWorkers(make, batch.ray, batch.workers)
    return run_here(partial(ShotWorker, batch.model, latents, progress))


def _make_worker(model: ModelOptions, latents: Path, threads: int) -> ShotWorker:
    return ShotWorker(replace(model, threads=model.threads or threads), latents)


def _entries(
    shots: Sequence[Shot], results: Sequence[ShotResult], model: ModelOptions
) -> Iterator[Entry]:
    """Every shot of the list, also those that were not wanted this time, which others may have run."""
    known = {result.number: result for result in results}
    options = model.describe()
    for shot in shots:
        result = known.get(shot.number)
        if result is None:
            is_there = is_done(shot.folder, hash_inputs(shot, options))
            result = ShotResult(shot.number, KEPT if is_there else NOT_RUN)
        yield Entry(shot, result)


def _line_of(result: ShotResult, folders: Mapping[int, Path]) -> str:
    reason = f": {result.message}" if result.message else ""
    return f"{result.state} {folders[result.number]}{reason}"


def choose_shots(shots: Sequence[Shot], numbers: str) -> list[Shot]:
    """Those with these numbers, all for ``""``; raises BatchError for a number that no shot has."""
    if not numbers:
        return list(shots)
    wanted = read_ranges(numbers, "--shots")
    beyond = [number for number in wanted if not 1 <= number <= len(shots)]
    if beyond:
        raise BatchError(f"--shots: got {beyond[0]}, expected 1 to {len(shots)}")
    return [shots[number - 1] for number in dict.fromkeys(wanted)]


def look_for_done(shots: Iterable[Shot], model_options: str) -> ShotStates:
    """Which shots need not be run, as the hash of their inputs says; raises VideoFileError, see ``hash_inputs``."""
    done = []
    waiting = []
    for shot in shots:
        inputs = hash_inputs(shot, model_options)
        if is_done(shot.folder, inputs):
            done.append(shot)
        else:
            waiting.append(ShotTask(shot, inputs))
    by_model = sorted(waiting, key=lambda task: str(task.shot.model))  # each is loaded once
    return ShotStates(done, by_model)


def run_here(make_worker: Callable[[], Worker]) -> Engine:
    """One shot after the other in this process."""

    def run(tasks: Sequence[ShotTask]) -> Iterator[ShotResult]:
        return map(make_worker().run, tasks) if tasks else iter(())

    return run


def check_results(results: Iterable[ShotResult]) -> None:
    """Raises FailedShotsError if one failed."""
    states = [result.state for result in results]
    failed = states.count(FAILED)
    if failed:
        well = states.count(DONE) + states.count(KEPT)
        raise FailedShotsError(
            f"{failed} of {len(states)} shots failed, {well} are done; "
            "the same command runs the failed ones again"
        )
