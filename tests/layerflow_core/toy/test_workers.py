import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from layerflow_core.toy.curriculum import make_plan
from layerflow_core.toy.workers import final_weights, finish, run_workers
from layerflow_core.training.trainer import Trainer
from layerflow_core.training.training_module import TrainingModule

pytest.importorskip("accelerate")

TARGET = torch.tensor([[2.0, -1.0]])


@dataclass
class Points:
    x: Tensor


class Line(TrainingModule):
    """Fits a line."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def forward(self, batch):
        return (self.line(batch["x"]) - batch["x"] @ TARGET.T).square().mean(1)

    def metrics(self):
        return {"bias": float(self.line.bias.detach())}


class RandomPoints:
    """``stop_at`` is the step at which the training is told to stop, as by a user."""

    def __init__(self, stop_at: int):
        self.stop_at = stop_at

    def draw(self, step: int, samples: range) -> Points:
        if step == self.stop_at:
            os.kill(os.getpid(), 15)
        return Points(
            torch.stack(
                [
                    torch.randn(2, generator=torch.Generator().manual_seed(1000 * step + n))
                    for n in samples
                ]
            )
        )


def _work(rank: int, folder: str, stop_at: int) -> None:
    torch.manual_seed(0)
    line, root = Line(), Path(folder)
    plan = make_plan(40, 8, 0.3, warmup_steps=2, ema_decay=0.5)
    finish(
        Trainer(line, RandomPoints(stop_at), plan, root / "line"),
        line.line,
        final_weights(root, "line"),
    )


def test_a_stopped_training_leaves_no_result_and_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_workers(2, _work, str(whole), -1)
    run_workers(2, _work, str(stopped), 14)
    assert not final_weights(stopped, "line").exists()
    run_workers(2, _work, str(stopped), -1)
    results = [
        torch.load(final_weights(folder, "line"), weights_only=True) for folder in (whole, stopped)
    ]
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])
    assert torch.allclose(results[0]["weight"], TARGET, atol=0.2)
