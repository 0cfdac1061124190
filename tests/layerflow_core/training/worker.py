"""A training in a process of its own: ``python worker.py FOLDER STEPS BATCH [DIE_AT]``.

Writes losses.json at its end.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.layout import find_layout
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.sampling.schedule import Schedule
from layerflow_core.training.data.cache import CachedClip
from layerflow_core.training.objective import (
    BatchMaker,
    LayerObjective,
    LayerTrainingModule,
    Mixture,
)
from layerflow_core.training.plan import TrainPlan
from layerflow_core.training.stages import task_layouts
from layerflow_core.training.trainer import Trainer, find_processes

LAYOUT = find_layout("unified_rgba")
MATRIX_RATE = 1e-2 if hasattr(torch.optim, "Muon") else 0.0


def random_clips(count: int) -> list[CachedClip]:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return [
        CachedClip(draw(16, 4, 4, 6), draw(16, 4, 4, 6).abs() * 0.1, draw(3, 5, 8))
        for _ in range(count)
    ]


def main(folder: Path, steps: int, batch: int, die_at: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = LayerFlowNetwork(
        ModelConfig(LAYOUT, NetworkConfig(2, 16, 2, 16, 8, 4, 4, 6, 2, tokens_per_text=5))
    )
    plan = TrainPlan(
        steps=20,
        batch=batch,
        lr=1e-2,
        muon_lr=MATRIX_RATE,
        warmup_steps=2,
        ema_decay=0.9,
        precision="no",
        gradient_checkpointing=False,
        save_every=10,
        sample_every=1,
        log_every=5,
    )
    maker = BatchMaker(
        Mixture([(random_clips(6), 0.0, 0.8), (random_clips(3), 1.0, 0.2)]),
        task_layouts(LAYOUT, "all"),
    )

    def maybe_die(step):
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == -die_at:
            os.kill(os.getpid(), signal.SIGTERM)

    assert find_processes().num_processes == int(
        os.environ.get("WORLD_SIZE", 1)
    )  # before the trainer asks, as ``run`` does
    trainer = Trainer(
        LayerTrainingModule(network, LayerObjective(Schedule())), maker, plan, folder, maybe_die
    )
    finished = trainer.run()
    if trainer.accelerator.is_main_process:
        kept = float(sum(p.abs().sum() for p in trainer.progress.average.shadow_params))
        (folder / "losses.json").write_text(
            json.dumps({"losses": trainer.progress.losses, "finished": finished, "kept": kept})
        )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        int(sys.argv[4]) if len(sys.argv) > 4 else 0,
    )
