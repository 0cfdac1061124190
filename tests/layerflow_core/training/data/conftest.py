"""A small dataset folder on disk."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from layerflow_core.rgba import over
from layerflow_core.training.data.clip_folder import LayerClip
from layerflow_core.training.data.stored_clip import OLD_RECORD
from layerflow_core.video.png import write_png_sequence


@pytest.fixture
def make_clip():
    """(name, frames) -> a layered clip of 12 x 16 pixels whose values survive 8 bits."""

    def make(name: str = "dog", frames: int = 3, **changes) -> LayerClip:
        generator = torch.Generator().manual_seed(3)
        foreground, background = (
            torch.randint(0, 256, (frames, 3, 12, 16), generator=generator) / 255 for _ in range(2)
        )
        alpha = torch.zeros(frames, 1, 12, 16)
        alpha[:, :, 3:9, 4:10] = 1
        layers = {
            "foreground": foreground,
            "alpha": alpha,
            "background": background,
            "blended": over(foreground, alpha, background),
        }
        prompts = {"foreground": "a dog", "background": "a lawn", "blended": "a dog on a lawn"}
        return LayerClip(
            **{
                "name": name,
                "layers": layers,
                "prompts": prompts,
                "fps": Fraction(24000, 1001),
                **changes,
            }
        )

    return make


@pytest.fixture
def write_old_clip():
    """(folder, clip): a folder of the older ``clip.json``, alpha in a folder of its own."""

    def write(folder: Path, clip: LayerClip) -> Path:
        clip = clip.complete()
        for name, pixels in clip.layers.items():
            write_png_sequence(folder / name, pixels.expand(-1, 3, -1, -1))
        fps = f"{clip.fps.numerator}/{clip.fps.denominator}"
        record = {"prompts": dict(clip.prompts), "fps": fps}
        (folder / OLD_RECORD).write_text(json.dumps(record))
        return folder

    return write
