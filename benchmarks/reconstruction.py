"""What the embedded model's VAE loses of its own world and of other footage: ``python -m
benchmarks.reconstruction [CLIP ...]``.

``ModelConfig.reconstruction_limit`` comes from these figures. A CLIP is a video file or a folder of images.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from layerflow_core.familiarity import reconstruction_error
from layerflow_core.model.loading import load_model
from layerflow_core.rgba import over_grey
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.evaluation import FIRST_SEED
from layerflow_core.toy.world import draw_scenes, render
from layerflow_core.video.files import read_video
from layerflow_core.video.frames import Fit

SCENES = 128


def main() -> None:
    model = load_model(EMBEDDED)
    vae = model.require_vae()
    errors: dict[str, list[float]] = {"blended": [], "background": [], "foreground over grey": []}
    for scene in draw_scenes(SCENES, FIRST_SEED, held_out=True):
        true = render(scene)
        grey = 0.5 + 0.5 * over_grey(true.foreground, true.alpha)
        for name, frames in zip(errors, (true.blended, true.background, grey)):
            errors[name].append(reconstruction_error(vae, frames))
    print(f"{SCENES} held-out scenes\n\n| | median | 99 of 100 | largest |\n|---|---|---|---|")
    for name, values in errors.items():
        found = torch.tensor(values)
        print(f"| {name} | {found.median():.4f} | {found.quantile(0.99):.4f} | {found.max():.4f} |")
    for path in map(Path, sys.argv[1:]):
        frames = read_video(path).colour
        fitted = Fit(tuple(frames.shape[2:]), *model.frame_size, "pad").apply(frames)
        print(f"| {path} | {reconstruction_error(vae, fitted):.4f} | | |")


if __name__ == "__main__":
    main()
