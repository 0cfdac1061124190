import builtins
import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from layerflow_core.batch.checking import read_shots
from layerflow_core.batch.progress import BatchProgress
from layerflow_core.batch.ray_workers import MOST_TRIES, RayWorkers
from layerflow_core.batch.running import look_for_done, run_batch
from layerflow_core.batch.worker import DONE, FAILED, ShotResult
from layerflow_core.errors import BatchError

SHOTS = 6
ROW = {"name": "a", "foreground": "a red star", "seeds": f"1-{SHOTS}"}


@pytest.fixture
def ray(monkeypatch):
    """A cluster of two workers' size on this machine, started by the batch itself."""
    module = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    real = module.init
    monkeypatch.setattr(
        module,
        "init",
        lambda *a, **k: real(*a, **k, num_cpus=2, num_gpus=0, include_dashboard=False),
    )
    yield module
    module.shutdown()


def hashes_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "summary.html")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_a_killed_worker_costs_no_shot_and_no_byte_changes(ray, make_batch, tmp_path, monkeypatch):
    """As ``benchmarks/batch.py`` shows it with 24 shots of the embedded model."""
    batch = make_batch([ROW], steps=1)
    killed: list[int] = []
    finish = BatchProgress.finish

    def kill_at_the_third(progress, result):
        killed.append(result.process)
        if len(killed) == 3:
            os.kill(result.process, signal.SIGKILL)
        finish(progress, result)

    monkeypatch.setattr(BatchProgress, "finish", kill_at_the_third)
    results = run_batch(replace(batch, ray="auto", workers=2), lambda line: None)
    assert sorted(result.number for result in results) == list(range(1, SHOTS + 1))
    assert {result.state for result in results} == {DONE}
    assert len({result.process for result in results}) == 3
    made = hashes_of(batch.out)
    assert len({name.partition("/")[0] for name in made}) == SHOTS
    monkeypatch.setattr(BatchProgress, "finish", finish)
    run_batch(replace(batch, out=tmp_path / "here"), lambda line: None)
    assert hashes_of(tmp_path / "here") == made


def test_a_shot_that_takes_its_worker_down_every_time_fails_alone(ray, make_batch):
    class Stub:
        """Does nothing; the second shot takes its process down."""

        def run(self, task):
            if task.shot.number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return ShotResult(task.shot.number, DONE, process=os.getpid())

    rows = [{"name": name, "foreground": "a star"} for name in "abc"]
    batch = make_batch(rows)
    shots = read_shots(batch.list, batch.out, batch.defaults)
    tasks = look_for_done(shots, "").waiting
    results = {
        result.number: result for result in RayWorkers(lambda threads: Stub(), count=1)(tasks)
    }
    assert {number: result.state for number, result in results.items()} == {
        1: DONE,
        2: FAILED,
        3: DONE,
    }
    assert f"{MOST_TRIES} workers were lost" in results[2].message


def test_no_ray_and_no_cluster_are_errors_of_ours(make_batch, monkeypatch):
    batch = make_batch([{"name": "a", "foreground": "a star"}])
    real = builtins.__import__

    def without_ray(name, *args, **kwargs):
        if name == "ray":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(BatchError, match=r"pip install .*\[ray\]"):
        run_batch(replace(batch, ray="auto"), lambda line: None)


def test_fewer_workers_than_none_are_refused():
    with pytest.raises(BatchError, match="got -1 workers"):
        list(RayWorkers(lambda threads: None, count=-1)([]))
