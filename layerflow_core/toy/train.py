"""Trains the embedded model from nothing: ``python -m layerflow_core.toy.train FOLDER``.

Every stage leaves a file in the folder and is skipped when that file is there, so a stopped training goes on.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from .curriculum import CURRICULA, SHIPPED
from .embedded import EMBEDDED
from .evaluation import SCENES, Plan, evaluate, write_figures
from .fitting import run_workers
from .latents import write_latents
from .network_training import train_network
from .vae_training import train_vae

PROCESSES = 2  # part of the recipe: another number draws other batches
SEED = 0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for checkpoints and latents; about 700 MB")
    parser.add_argument("--target", type=Path, default=EMBEDDED, help="file to write")
    parser.add_argument("--evaluate", type=int, default=SCENES, metavar="SCENES", help="held-out scenes to measure on, 0 for none")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = str(options.folder)
    if not (options.folder / "vae_final.pt").exists():
        run_workers(PROCESSES, train_vae, folder, SEED)
    run_workers(PROCESSES, write_latents, folder, CURRICULA[SHIPPED].sets)
    run_workers(PROCESSES, train_network, folder, SEED, SHIPPED)
    from .export import export

    export(options.folder, options.target, SHIPPED)
    if options.evaluate:
        write_figures(evaluate(Plan(options.target, scenes=options.evaluate)), options.target.with_name("figures.json"))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main()
