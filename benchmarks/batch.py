"""What a batch costs beside its shots, here and on Ray, and whether a killed worker costs anything.

python -m benchmarks.batch                 # overhead of 24 to 10,000 shots that do nothing
python -m benchmarks.batch --embedded      # 24 shots of the embedded model; one of two workers is killed
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from layerflow_core.batch import progress
from layerflow_core.batch.checking import read_shots
from layerflow_core.batch.ray_workers import AUTO_ADDRESS, RayWorkers
from layerflow_core.batch.running import Batch, Engine, look_for_done, run_batch, run_here
from layerflow_core.batch.worker import DONE, ModelOptions, ShotResult
from layerflow_core.toy.embedded import EMBEDDED

COUNTS = (24, 100, 1000, 10_000)
EMBEDDED_SHOTS = 24
KILLED_AFTER = 6
WORKERS = 2


class IdleWorker:
    """Every shot is done at once."""

    def run(self, task) -> ShotResult:
        return ShotResult(task.shot.number, DONE)


def write_list(path: Path, count: int) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "task", "foreground", "seed"])
        writer.writerows([f"s{n}", "generate", "a red star", n] for n in range(count))
    return path


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def time_engine(engine: Engine, tasks) -> float:
    """Seconds from the first result, before which workers start, to the last one."""
    results = engine(tasks)
    next(results)
    return timed(lambda: list(results))


def measure_overhead(folder: Path) -> None:
    print("| shots | checking the list, s | hashes and what is done, s | here, s | Ray, s |")
    print("|---|---|---|---|---|")
    for count in COUNTS:
        seconds = overhead_of(write_list(folder / f"{count}.csv", count), folder / "out")
        print(f"| {count} | {' | '.join(f'{part:.2f}' for part in seconds)} |", flush=True)


def overhead_of(path: Path, out: Path) -> tuple[float, ...]:
    """Seconds under the columns of ``measure_overhead``."""
    started = time.perf_counter()
    shots = read_shots(path, out, {"model": EMBEDDED})
    checked = time.perf_counter()
    tasks = look_for_done(shots, "").waiting
    looked = time.perf_counter()
    here = time_engine(run_here(IdleWorker), tasks)
    on_ray = time_engine(RayWorkers(lambda threads: IdleWorker(), count=WORKERS), tasks)
    return checked - started, looked - checked, here, on_ray


def hash_files(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*.*") if path.is_file() and path.parent != folder)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def run_embedded(folder: Path) -> None:
    """24 shots on two workers of one thread, one of them killed; then the same without Ray."""
    path = write_list(folder / "embedded.csv", EMBEDDED_SHOTS)
    defaults = {"model": EMBEDDED, "steps": 4}
    plain = Batch(path, folder / "here", defaults, model=ModelOptions("cpu", threads=1))
    processes: list[int] = []
    finish = progress.BatchProgress.finish

    def kill_one(bar, result: ShotResult) -> None:
        processes.append(result.process)
        if len(processes) == KILLED_AFTER:
            os.kill(result.process, signal.SIGKILL)
        finish(bar, result)

    progress.BatchProgress.finish = kill_one
    on_ray = replace(plain, out=folder / "ray", ray=AUTO_ADDRESS, workers=WORKERS)
    seconds = timed(lambda: run_batch(on_ray, print))
    progress.BatchProgress.finish = finish
    alone = timed(lambda: run_batch(plain, print))
    ours = hash_files(folder / "ray")
    same = ours == hash_files(folder / "here")
    print(
        f"{len(processes)} results from {len(set(processes))} processes, one killed; "
        f"{len(ours)} files, the same bytes as without Ray: {same}; "
        f"{seconds:.0f} s on {WORKERS} workers, {alone:.0f} s here"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedded", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = run_embedded if options.embedded else measure_overhead
        work(Path(folder))


if __name__ == "__main__":
    main()
