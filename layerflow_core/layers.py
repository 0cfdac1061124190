"""The type that rooms hand on: a video in layers.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque, float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import FrameError
from .layout import BACKGROUND, BLENDED, FOREGROUND, Layout
from .rgba import over


@dataclass(frozen=True)
class Foreground:
    """One transparent layer.

    Args:
        name: its clip's name.
        colour: [N, 3, H, W], straight.
        alpha: [N, 1, H, W]; None from an RGB checkpoint, which makes no alpha.
    """

    name: str
    colour: Tensor
    alpha: Tensor | None

    @property
    def opacity(self) -> Tensor:
        """Alpha, opaque where the checkpoint made none."""
        return torch.ones_like(self.colour[:, :1]) if self.alpha is None else self.alpha


@dataclass(frozen=True)
class LayerVideo:
    """What a run returns.

    Args:
        foregrounds: in layout order; the later ones lie above.
        background, blended: [N, 3, H, W], None where the layout has no such clip.
        fps: frames a second.
        residual: [N, 3, H, W], -1..1: what the blended scene has beyond foregrounds over background, such as shadows
            and reflections; None where nobody has asked for it.
    """

    foregrounds: tuple[Foreground, ...]
    background: Tensor | None
    blended: Tensor | None
    fps: float
    residual: Tensor | None = None

    @property
    def foreground(self) -> Tensor:
        """Colour of the first foreground."""
        return self.foregrounds[0].colour

    @property
    def alpha(self) -> Tensor:
        """Alpha of the first foreground."""
        return self.foregrounds[0].opacity

    def recompose(self) -> Tensor:
        """All foregrounds over the background, [N, 3, H, W]; raises FrameError without a background."""
        if self.background is None:
            raise FrameError("these layers have no background to recompose over")
        canvas = self.background
        for layer in self.foregrounds:
            canvas = over(layer.colour, layer.opacity, canvas)
        return canvas

    def with_residual(self) -> LayerVideo:
        """The same layers, and blended minus recomposition in float; raises FrameError without background or blended."""
        if self.blended is None:
            raise FrameError("these layers have no blended scene, expected one: a residual is what it has beyond the other layers")
        return replace(self, residual=self.blended - self.recompose())

    def clips(self) -> dict[str, Tensor]:
        """Every picture layer by name, for saving and showing; alpha under ``{foreground}.alpha``."""
        named: dict[str, Tensor] = {}
        for layer in self.foregrounds:
            named |= {layer.name: layer.colour, f"{layer.name}.alpha": layer.opacity}
        return named | {k: v for k, v in ((BACKGROUND, self.background), (BLENDED, self.blended)) if v is not None}


def assemble_layers(clips: Mapping[str, Tensor], layout: Layout, fps: float) -> LayerVideo:
    """Straight layers by clip name (see ``rgba.from_model``) to the type that is handed on."""
    foregrounds = tuple(
        Foreground(clip.name, clips[clip.name], clips[alpha.name] if (alpha := layout.alpha_of(clip.name)) else None)
        for clip in layout.of_kind(FOREGROUND)
    )
    first = {kind: next((clips[c.name] for c in layout.of_kind(kind)), None) for kind in (BACKGROUND, BLENDED)}
    return LayerVideo(foregrounds, first[BACKGROUND], first[BLENDED], fps)
