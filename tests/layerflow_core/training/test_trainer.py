import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from layerflow_core.training.plan import TrainPlan
from layerflow_core.training.trainer import Trainer
from layerflow_core.training.training_module import TrainingModule

pytest.importorskip("accelerate")
WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = {
    **os.environ,
    "ACCELERATE_USE_CPU": "true",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(WORKER.parents[3]),
}


def train(
    folder: Path,
    batch: int = 4,
    die_at: int = 0,
    launcher: tuple[str, ...] = (sys.executable,),
    status: int = 0,
) -> dict | None:
    command = [*launcher, str(WORKER), str(folder), "20", str(batch), str(die_at)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == status, result.stderr[-3000:]
    record = folder / "losses.json"
    return json.loads(record.read_text()) if record.exists() else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """Twenty steps in one go."""
    return train(tmp_path_factory.mktemp("whole"))


def test_a_killed_training_goes_on_with_the_losses_of_an_uninterrupted_one(whole, tmp_path):
    assert train(tmp_path, die_at=13, status=-signal.SIGKILL) is None
    (
        tmp_path / "checkpoints" / "step_00000013.part"
    ).mkdir()  # as a kill in the middle of saving leaves it
    resumed = train(tmp_path)
    assert resumed["losses"] == pytest.approx(whole["losses"], abs=1e-6)
    assert resumed["kept"] == pytest.approx(whole["kept"], rel=1e-6)
    assert len(set(whole["losses"])) == 20


def test_sigterm_stops_after_the_step_and_loses_nothing(whole, tmp_path):
    stopped = train(tmp_path, die_at=-7)
    assert not stopped["finished"] and stopped["losses"] == pytest.approx(
        whole["losses"][:7], abs=1e-6
    )
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_00000007"]
    assert train(tmp_path)["losses"] == pytest.approx(whole["losses"], abs=1e-6)


def test_two_processes_give_the_losses_of_one_with_twice_the_batch(whole, tmp_path):
    options = (
        "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no "
        "--main_process_port 0"
    )
    launcher = (sys.executable, "-m", "accelerate.commands.launch", *options.split())
    together = train(tmp_path, batch=2, launcher=launcher)
    assert together["losses"] == pytest.approx(whole["losses"], abs=1e-5)


def test_trainings_of_one_process_may_differ_in_precision(tmp_path):
    class Line(TrainingModule):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(4, 1)
            self.computed = []

        def forward(self, batch):
            answer = self.inner(batch["x"])
            self.computed.append(answer.dtype)
            return answer.float().square().flatten()

    class Ones:
        def draw(self, step, samples):
            return SimpleNamespace(x=torch.ones(len(samples), 4))

    for precision, expected in (("no", torch.float32), ("bf16", torch.bfloat16)):
        line = Line()
        assert Trainer(line, Ones(), TrainPlan(2, precision=precision), tmp_path / precision).run()
        assert set(line.computed) == {expected}


def test_another_plan_does_not_go_on_from_a_folder(tmp_path):
    train(tmp_path, die_at=-7)
    result = subprocess.run(
        [sys.executable, str(WORKER), str(tmp_path), "20", "2"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert result.returncode and "made with other batch" in result.stderr
