"""Trains the embedded model from nothing: ``python -m layerflow_core.toy.train FOLDER``.

Every stage leaves a file in the folder and is skipped when that file is there, so a stopped training resumes.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from ..errors import TrainingError
from .curriculum import CURRICULA, SHIPPED
from .embedded import EMBEDDED
from .evaluation import SCENES, EvaluationPlan, evaluate, write_figures
from .export import export
from .latents import write_latents
from .network_training import train_stage
from .vae_training import VAE, train_vae
from .workers import final_weights, run_workers

PROCESSES = 2  # part of the recipe: another number draws other batches
SEED = 0


def train_curriculum(folder: Path, curriculum: str) -> None:
    """Make the latents and train the stages of a key of ``CURRICULA`` that are not there yet."""
    row = CURRICULA[curriculum]
    run_workers(PROCESSES, write_latents, str(folder), row.sets)
    for number, stage in enumerate(row.stages):
        if not final_weights(folder, stage.name).exists():
            print(f"train {stage.name}", flush=True)
            run_workers(PROCESSES, train_stage, str(folder), SEED, curriculum, number)
            require_finished(final_weights(folder, stage.name))


def require_finished(result: Path) -> None:
    """Raises TrainingError if a training was told to stop before its result was there."""
    if not result.exists():
        raise TrainingError(f"the training of {result.name} was stopped; start it again to resume")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for checkpoints and latents; about 700 MB")
    parser.add_argument("--target", type=Path, default=EMBEDDED, help="file to write")
    parser.add_argument(
        "--evaluate",
        type=int,
        default=SCENES,
        metavar="SCENES",
        help="held-out scenes to measure on, 0 for none",
    )
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    if not final_weights(options.folder, VAE).exists():
        run_workers(PROCESSES, train_vae, str(options.folder), SEED)
        require_finished(final_weights(options.folder, VAE))
    train_curriculum(options.folder, SHIPPED)
    export(options.folder, options.target, SHIPPED)
    if options.evaluate:
        write_figures(
            evaluate(EvaluationPlan(options.target, scenes=options.evaluate)),
            options.target.with_name("figures.json"),
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main()
