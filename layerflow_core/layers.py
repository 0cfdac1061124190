"""The type that rooms hand on: a video in layers.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque, float32 on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .errors import FrameError
from .layout import BACKGROUND, BLENDED, FOREGROUND, Layout
from .matching import hold, match_matte
from .rgba import over

_log = logging.getLogger(__name__)

RESIDUAL = "residual"
"""What it is called among the other layers."""


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

    def held(self, count: int) -> Foreground:
        """The same layer, a still shown for ``count`` frames; raises FrameError if its alpha does not fit."""
        if self.alpha is None:
            return replace(self, colour=hold(self.colour, count))
        colour, alpha = match_matte(self.colour, self.alpha, self.name)
        return replace(self, colour=hold(colour, count), alpha=hold(alpha, count))


@dataclass(frozen=True)
class LayerVideo:
    """What a run returns.

    Args:
        foregrounds: in layout order; the later ones lie above.
        background, blended: [N, 3, H, W], None where the layout has no such clip.
        fps: frames per second.
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
            raise FrameError(
                "these layers have no background to recompose over, expected one: "
                "give it to JoinLayers, or take 'blended', which is over black without one"
            )
        return self._stack_over(self.background)

    def scene(self) -> Tensor:
        """The whole scene, [N, 3, H, W]: as it was made or given, else recomposed.

        Where nothing lies behind, it is the foregrounds over black, and a warning says so.
        """
        if self.blended is not None:
            return self.blended
        if self.background is not None:
            return self.recompose()
        _log.warning(
            "these layers have no background: 'blended' is the foregrounds over black, 'background' is black"
        )
        return self._stack_over(torch.zeros_like(self.foreground[:1, :, :1, :1]))

    def _stack_over(self, canvas: Tensor) -> Tensor:
        for layer in self.foregrounds:
            canvas = over(layer.colour, layer.opacity, canvas)
        return canvas

    def with_residual(self) -> LayerVideo:
        """The same layers, and blended minus recomposition in float.

        Raises:
            FrameError: without background or blended.
        """
        clips = {"background": self.background, "blended scene": self.blended}
        absent = [name for name, clip in clips.items() if clip is None]
        if absent:
            raise FrameError(
                f"these layers have no {' and no '.join(absent)}, expected both: a residual is "
                "what the blended scene has "
                "beyond foregrounds over background. Give them to JoinLayers, or load a saved set that has them"
            )
        return replace(self, residual=self.blended - self.recompose())

    def held(self) -> LayerVideo:
        """The same layers, every still among them shown for as long as the longest lasts: views, not copies.

        Raises:
            FrameError: an alpha that does not fit its colour.
        """
        opaque = {BACKGROUND: self.background, BLENDED: self.blended, RESIDUAL: self.residual}
        opaque = {name: clip for name, clip in opaque.items() if clip is not None}
        mattes = [layer.alpha for layer in self.foregrounds if layer.alpha is not None]
        clips = [*opaque.values(), *mattes, *(layer.colour for layer in self.foregrounds)]
        count = max(map(len, clips), default=1)
        foregrounds = tuple(layer.held(count) for layer in self.foregrounds)
        return replace(
            self,
            foregrounds=foregrounds,
            **{name: hold(clip, count) for name, clip in opaque.items()},
        )

    def clips(self) -> dict[str, Tensor]:
        """Every image layer by name, for saving and showing; alpha under ``{foreground}.alpha``."""
        named: dict[str, Tensor] = {}
        for layer in self.foregrounds:
            named |= {layer.name: layer.colour, f"{layer.name}.alpha": layer.opacity}
        return named | {
            k: v
            for k, v in ((BACKGROUND, self.background), (BLENDED, self.blended))
            if v is not None
        }


def assemble_layers(clips: Mapping[str, Tensor], layout: Layout, fps: float) -> LayerVideo:
    """Straight layers by clip name (see ``rgba.from_model``) to the type that is handed on."""
    foregrounds = tuple(
        Foreground(
            clip.name,
            clips[clip.name],
            clips[alpha.name] if (alpha := layout.alpha_of(clip.name)) else None,
        )
        for clip in layout.of_kind(FOREGROUND)
    )
    first = {
        kind: next((clips[c.name] for c in layout.of_kind(kind)), None)
        for kind in (BACKGROUND, BLENDED)
    }
    return LayerVideo(foregrounds, first[BACKGROUND], first[BLENDED], fps)
