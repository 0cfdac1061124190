"""The method's three stages and their ablations trained on the procedural world: ``python -m
layerflow_core.toy.proof FOLDER``.

At half the embedded model's size, with its VAE. Every training leaves its result in the folder and is skipped when that
is there; a stopped one resumes. ``proof_table`` measures the results.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..model.loading import load_model
from ..training.config import ModelSection, StageSection, TrainingConfig
from ..training.run import run_training
from ..training.stages import find_stage
from .clips import COARSE, EXACT, ProceduralClips
from .curriculum import CHANNELS_START, CURRICULA, SEQUENCE_START, make_plan
from .embedded import EMBEDDED
from .export import export
from .head_by_head import HeadByHead
from .train import PROCESSES, require_finished, train_curriculum
from .vae_training import VAE
from .workers import final_weights, run_workers


@dataclass(frozen=True)
class Clips:
    """A source of a stage: what ``config.DataSection`` is to files."""

    count: int
    quality: str
    first_seed: int
    variants: int = 1

    def open(self, needed: tuple[str, ...]) -> ProceduralClips:
        return ProceduralClips(self.count, self.quality, self.first_seed)


# Pasted clips are what the world's exact clips are: a shape over a background.
SOURCES: Mapping[str, Clips] = {
    "coarse": Clips(3000, COARSE, 6 * 10**8),
    "stills": Clips(2000, EXACT, 7 * 10**8),
    "pasted": Clips(800, EXACT, 8 * 10**8),
}
BASE_STEPS, MOTION_STEPS, CONTENT_STEPS = 1000, 200, 500
RANKS = {"motion": 8, "content": 64}


@dataclass(frozen=True)
class Training:
    """One training of the proof.

    Args:
        stage: key of ``training.stages.STAGES``.
        start: where the network comes from: another training, or a curriculum.
        steps: of 16 samples.
        motion: training whose motion LoRA takes part.
    """

    stage: str
    start: str
    steps: int
    motion: str | None = None


TRAININGS: Mapping[str, Training] = {
    "base": Training("base", SEQUENCE_START, BASE_STEPS),
    "motion": Training("motion", "base", MOTION_STEPS),
    "content": Training("content", "base", CONTENT_STEPS, motion="motion"),
    "content_alone": Training("content_alone", "base", CONTENT_STEPS),
    "joint": Training("joint", SEQUENCE_START, BASE_STEPS + MOTION_STEPS + CONTENT_STEPS),
    "channels_base": Training("base", CHANNELS_START, BASE_STEPS),
    "channels_motion": Training("motion", "channels_base", MOTION_STEPS),
    "channels_content": Training(
        "content", "channels_base", CONTENT_STEPS, motion="channels_motion"
    ),
}


def train_all(folder: Path) -> None:
    """Every start and every training that is not finished yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, training in TRAININGS.items():
        if training.start in CURRICULA:
            prepare_start(folder, training.start)
        if not result_of(folder, name).exists():
            print(f"train {name}", flush=True)
            run_workers(PROCESSES, _train, str(folder), name)
            require_finished(result_of(folder, name))


def prepare_start(folder: Path, curriculum: str) -> None:
    """Train a curriculum on frames of coarse footage, with the embedded model's VAE."""
    if result_of(folder, curriculum).exists():
        return
    vae = final_weights(folder, VAE)
    if not vae.exists():
        torch.save(load_model(EMBEDDED).require_vae().vae.float().state_dict(), vae)
    train_curriculum(folder, curriculum)
    export(folder, result_of(folder, curriculum), curriculum)


def result_of(folder: Path, name: str) -> Path:
    """The file that a training, or a start, leaves behind."""
    return (
        folder / f"{name}.safetensors"
        if name in CURRICULA
        else folder / name / f"{TRAININGS[name].stage}.safetensors"
    )


def _train(rank: int, folder: str, name: str) -> None:
    with HeadByHead():
        run_training(training_config(Path(folder), name))


def training_config(folder: Path, name: str) -> TrainingConfig:
    training = TRAININGS[name]
    stage = find_stage(training.stage)
    motion = result_of(folder, training.motion) if training.motion else None
    rates = (5e-3, 0.0) if stage.adapter else (2e-3, 3e-3)
    return TrainingConfig(
        model=ModelSection(result_of(folder, training.start), motion_lora=motion),
        stage=StageSection(
            training.stage, blocks="every", tasks="all", rank=RANKS.get(stage.adapter, 0)
        ),
        data={source: SOURCES[source] for source in stage.sources},
        plan=make_plan(training.steps, 8, *rates, warmup_steps=30),
        output=folder / name,
        cache=folder / "cache",
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for checkpoints and latents; about 1 GB")
    train_all(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main()
