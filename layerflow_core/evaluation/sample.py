"""What measures are given: one result, and whatever it can be compared with.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError
from ..layers import Foreground, LayerVideo
from ..layout import BACKGROUND, BLENDED
from ..matching import describe
from ..rgba import over
from .matte import TRANSPARENT
from .metric_networks import MetricNetworks

_MARGIN = 96
"""A region that is hidden by a matte reaches one 96th of the height beyond it: 5 pixels at 480 lines."""


@dataclass(frozen=True)
class Sample:
    """One result; whatever is asked of it and is not there raises EvaluationError, with the reason.

    Args:
        layers: of one length and size.
        truth: the true layers, as many foregrounds in the same order, of the same length and size.
        prompts: by layer, as far as they are known.
        networks: those that some measures look with.
    """

    layers: LayerVideo
    truth: LayerVideo | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    networks: MetricNetworks = MetricNetworks()

    @property
    def background(self) -> Tensor:
        """[N, 3, H, W]."""
        return _present(self.layers.background, BACKGROUND, "result")

    @property
    def blended(self) -> Tensor:
        """[N, 3, H, W]."""
        return _present(self.layers.blended, BLENDED, "result")

    @property
    def foregrounds(self) -> tuple[Foreground, ...]:
        """All with an alpha."""
        return _with_alpha(self.layers, "result")

    @cached_property
    def matte(self) -> Tensor:
        """[N, 1, H, W] what all foregrounds together hide."""
        return _join(self.foregrounds)

    @cached_property
    def recomposed(self) -> Tensor:
        """[N, 3, H, W] foregrounds over background."""
        canvas = self.background
        for layer in self.foregrounds:
            canvas = over(layer.colour, layer.opacity, canvas)
        return canvas

    @cached_property
    def residual(self) -> Tensor:
        """[N, 3, H, W] blended minus recomposition, -1..1."""
        return self.blended - self.recomposed

    @cached_property
    def matte_region(self) -> Tensor:
        """[N, 1, H, W] bool: where the result has a foreground, and a little beyond."""
        return _dilate(self.matte > TRANSPARENT)

    @cached_property
    def hidden(self) -> Tensor:
        """[N, 1, H, W] bool: where the true foregrounds hide the background, and a little beyond."""
        return _dilate(_join(_with_alpha(self._true_layers, "truth")) > 0)

    @property
    def true_background(self) -> Tensor:
        """[N, 3, H, W]."""
        return _present(self._true_layers.background, BACKGROUND, "truth")

    def pairs(self) -> Iterator[tuple[Foreground, Foreground]]:
        """Each foreground with the true one, both with alpha."""
        true = _with_alpha(self._true_layers, "truth")
        if len(true) != len(self.foregrounds):
            raise EvaluationError(
                f"got {len(self.foregrounds)} foregrounds and a truth of {len(true)}, expected as many"
            )
        yield from zip(self.foregrounds, true)

    @cached_property
    def _true_layers(self) -> LayerVideo:
        if self.truth is None:
            raise EvaluationError("there are no true layers to compare with")
        made = _describe(self.layers)
        true = _describe(self.truth)
        if made != true:
            raise EvaluationError(f"got {made} and a truth of {true}, expected both alike")
        return self.truth


def _present(clip: Tensor | None, name: str, whose: str) -> Tensor:
    if clip is None:
        raise EvaluationError(f"the {whose} has no {name}")
    return clip


def _with_alpha(layers: LayerVideo, whose: str) -> tuple[Foreground, ...]:
    if not layers.foregrounds:
        raise EvaluationError(f"the {whose} has no foreground")
    without = [layer.name for layer in layers.foregrounds if layer.alpha is None]
    if without:
        raise EvaluationError(f"the {whose} has no alpha for {', '.join(without)}")
    return layers.foregrounds


def _describe(layers: LayerVideo) -> str:
    return describe(next(iter(layers.clips().values())))


def _join(layers: tuple[Foreground, ...]) -> Tensor:
    seen_through = torch.ones_like(layers[0].opacity)
    for layer in layers:
        seen_through = seen_through * (1 - layer.opacity)
    return 1 - seen_through


def _dilate(region: Tensor) -> Tensor:
    reach = max(1, round(region.shape[2] / _MARGIN))
    return F.max_pool2d(region.float(), 2 * reach + 1, 1, reach) > 0
