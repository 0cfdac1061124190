"""The procedural world as a source of training clips, in the two qualities that the paper's data has (section 3.2).

Legend: T frames, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from ..editing.refinement import dilate
from ..errors import DatasetError
from ..training.data.clip_folder import LayerClip
from .world import FPS, TrueLayers, draw_scene, render

EXACT, COARSE = "exact", "coarse"
_WRONG_BY = (-2, -1, 1, 2, 3)  # pixels that a coarse mask is too small or too large
_SMEAR = 15  # pixels that the smeared background is mixed from


@dataclass(frozen=True)
class ProceduralClips:
    """Scenes that are not held out, as layered clips.

    Args:
        quality: key of ``QUALITIES``.
        first_seed: of the scenes; ranges of other sources must not meet this one's.

    Raises:
        DatasetError: the quality is unknown.
    """

    count: int
    quality: str
    first_seed: int

    def __post_init__(self) -> None:
        if self.quality not in QUALITIES:
            raise DatasetError(
                f"got unknown quality {self.quality!r}, expected one of {', '.join(QUALITIES)}"
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> LayerClip:
        if not 0 <= index < self.count:
            raise IndexError(index)
        scene = draw_scene(self.first_seed + index, held_out=False)
        layers = QUALITIES[self.quality](render(scene), random.Random(self.first_seed + index))
        return LayerClip(
            f"scene {self.first_seed + index}", vars(layers), scene.prompts, Fraction(FPS)
        )

    def fingerprint(self) -> str:
        return repr(self)


def keep_truth(true: TrueLayers, rng: random.Random) -> TrueLayers:
    """Soft alpha, exact colours: what compositors make."""
    return true


def make_coarse(true: TrueLayers, rng: random.Random) -> TrueLayers:
    """What segmentation and inpainting make of footage: a hard mask of the wrong size, a smeared background, blur."""
    footage = F.avg_pool2d(F.pad(true.blended, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mask = dilate((true.alpha > 0.5 * true.alpha.amax()).float(), rng.choice(_WRONG_BY))
    hole = dilate((true.alpha > 0.01).float(), 2)
    return TrueLayers(footage, mask, smear(footage, hole), footage)


QUALITIES: Mapping[str, Callable[[TrueLayers, random.Random], TrueLayers]] = {
    EXACT: keep_truth,
    COARSE: make_coarse,
}


def smear(footage: Tensor, hole: Tensor) -> Tensor:
    """Fill a hole from the mean of what lies around it, farther and farther away: an inpainter's smear.

    Args:
        footage: [T, 3, H, W]; hole: [T, 1, H, W], 1 where nothing is known.
    """
    known = weight = 1 - hole
    filled = footage * known
    for _ in range(4):
        share = F.avg_pool2d(weight, _SMEAR, 1, _SMEAR // 2)
        around = F.avg_pool2d(filled, _SMEAR, 1, _SMEAR // 2) / share.clamp(min=1e-4)
        reached = (share > 1e-4).float()
        filled, weight = footage * known + around * hole * reached, torch.maximum(known, reached)
    return (footage * known + around * hole).clamp(0, 1)
