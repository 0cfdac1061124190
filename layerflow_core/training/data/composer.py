"""Copy and paste: RGBA clips over background clips, with exactly known layers (paper section 3.2).

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...editing.retiming import bounce
from ...editing.transform import Transform, transform
from ...errors import DatasetError
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ...rgba import from_grey, over, over_grey
from ...video.frames import cover
from .clip_folder import LayerClip

_METHOD = "shrunk with antialias"  # of pasting; part of the fingerprint


class ClipSource(Protocol):
    """Anything that has numbered clips: a folder, a composer, a procedural world."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LayerClip: ...

    def fingerprint(self) -> str:
        """Changes whenever a clip would."""
        ...


@dataclass(frozen=True)
class PlacementJitter:
    """How far a pasted foreground may stray.

    Args:
        scale: least and largest size against its own.
        offset: of its centre, at most this share of the frame's height and width.
        speed: least and largest speed against its own.
    """

    scale: tuple[float, float] = (0.6, 1.1)
    offset: float = 0.25
    speed: tuple[float, float] = (0.75, 1.25)

    def __post_init__(self) -> None:
        for name in ("scale", "speed"):
            least, largest = getattr(self, name)
            if not 0 < least <= largest:
                raise DatasetError(
                    f"got {name} from {least} to {largest}, expected 0 < least <= largest"
                )
        if self.offset < 0:
            raise DatasetError(f"got offset {self.offset}, expected 0 or more")


class PastedClips:
    """``count`` clips, each an RGBA clip over a background clip, drawn by number: the same number, the same clip.

    Args:
        foregrounds: clips with foreground and alpha.
        backgrounds: clips with background.
    """

    def __init__(
        self,
        foregrounds: ClipSource,
        backgrounds: ClipSource,
        count: int,
        freedom: PlacementJitter = PlacementJitter(),
        seed: int = 0,
    ) -> None:
        self.foregrounds = foregrounds
        self.backgrounds = backgrounds
        self.count = count
        self.freedom = freedom
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> LayerClip:
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = random.Random(f"{self.seed}:{index}")
        front = self.foregrounds[rng.randrange(len(self.foregrounds))]
        behind = self.backgrounds[rng.randrange(len(self.backgrounds))]
        background = behind.layers[BACKGROUND]
        colour, alpha = self._place(front, background, rng)
        background = background[_play(len(background), len(colour), 1.0, 0)]
        prompts = {
            FOREGROUND: front.prompts[FOREGROUND],
            BACKGROUND: behind.prompts[BACKGROUND],
            BLENDED: f"{front.prompts[FOREGROUND]} in front of {behind.prompts[BACKGROUND]}",
        }
        layers = {
            FOREGROUND: colour,
            ALPHA: alpha,
            BACKGROUND: background,
            BLENDED: over(colour, alpha, background),
        }
        name = f"{front.name} over {behind.name} ({index})"
        return LayerClip(name, layers, prompts, front.fps).check()

    def fingerprint(self) -> str:
        parts = (
            self.foregrounds.fingerprint(),
            self.backgrounds.fingerprint(),
            self.count,
            self.freedom,
            self.seed,
            _METHOD,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _place(
        self, front: LayerClip, background: Tensor, rng: random.Random
    ) -> tuple[Tensor, Tensor]:
        freedom = self.freedom
        height, width = background.shape[2:]
        colour = front.layers[FOREGROUND]
        alpha = front.layers[ALPHA]
        frames = _play(
            len(colour), len(colour), rng.uniform(*freedom.speed), rng.randrange(len(colour))
        )
        scale = rng.uniform(*freedom.scale)
        right = rng.uniform(-freedom.offset, freedom.offset)
        down = rng.uniform(-freedom.offset, freedom.offset)
        move = Transform(right * width, down * height, scale)
        # Colour moves premultiplied, or edges would take on whatever colour lies beyond them.
        image = torch.cat([over_grey(colour, alpha), alpha], 1)[frames]
        placed = transform(cover(image, height, width), move)
        alpha = placed[:, 3:].clamp(0, 1)
        return from_grey(placed[:, :3], alpha), alpha


def _play(available: int, wanted: int, speed: float, start: int) -> Sequence[int]:
    """Frame numbers at another speed from ``start`` on, there and back again where the clip is too short."""
    return [bounce(start + int(number * speed), available) for number in range(wanted)]
