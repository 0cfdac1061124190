"""A batch from its shots to its results: what is done is left alone, what fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BatchError, FailedShotsError
from .checking import read_shots
from .number_ranges import read_ranges
from .progress import BatchProgress
from .shots import Shot, hash_inputs, is_done
from .worker import DONE, FAILED, ModelOptions, ShotResult, ShotTask, ShotWorker, Worker


@dataclass(frozen=True)
class Batch:
    """A list of shots, and how it is run.

    Args:
        out: folder of all results.
        defaults: fields of ``ShotFields`` that the list leaves out.
        numbers: of the shots that are wanted, see ``choose_shots``.
    """

    list: Path
    out: Path
    defaults: Mapping[str, Any]
    numbers: str = ""
    model: ModelOptions = ModelOptions()


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
        worker = ShotWorker(batch.model, batch.out.absolute() / LATENTS, progress)
        for result in run_here(worker)(states.waiting):
            progress.finish(result)
            progress.say(_line_of(result, folders))
            results.append(result)
    finally:
        progress.close()
    check_results(results)
    return results


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


def run_here(worker: Worker) -> Engine:
    """One shot after the other in this process."""

    def run(tasks: Sequence[ShotTask]) -> Iterator[ShotResult]:
        return map(worker.run, tasks)

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
