"""How good the embedded model is, on scenes and combinations that no training saw, beside trivial answers.

Decomposition is measured against the true layers; generation by rules that are themselves checked on true clips.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..footage import decompose
from ..layers import LayerVideo
from ..layout import ALPHA, BACKGROUND, FOREGROUND
from ..model.loading import LayerFlowModel
from ..pipeline import Run, make_layers
from ..sampling.noise import POSTERIOR, NoiseSource
from ..sampling.sampler import SamplerSettings
from .vae_training import model_clips
from .world import BACKGROUNDS, COLOURS, HEIGHT, WIDTH, Scene, TrueLayers, draw_scene, render

FIRST_SEED = 9 * 10**8  # far from every seed that trains
_PHASES = 16
_MEAN_SHADE = 0.875  # shapes are shaded from 1 at the top to 0.75


@dataclass(frozen=True)
class Figures:
    """A table: each measure with the model's value and those of the trivial answers.

    Args:
        alpha_mae: mean absolute error of alpha; trivial: an empty alpha.
        alpha_iou: soft intersection over union; trivial: another scene's true alpha.
        hidden_background_psnr: dB, background where alpha > 0.5; trivial: the blend handed back.
        background_psnr: dB, whole background; trivial: the blend.
        colour_accuracy, background_accuracy: of generated clips by rule, from prompts alone and with the other layer
            given; beside it the rule on true clips, and chance.
        recomposition_psnr: dB, generated foreground over background against generated blend; trivial: another clip's blend.
        vae_psnr: dB per kind of clip, encoded and decoded; what no figure above can exceed.
    """

    scenes: int
    alpha_mae: dict[str, float]
    alpha_iou: dict[str, float]
    hidden_background_psnr: dict[str, float]
    background_psnr: dict[str, float]
    colour_accuracy: dict[str, float]
    background_accuracy: dict[str, float]
    recomposition_psnr: dict[str, float]
    vae_psnr: dict[str, float]


def soft_iou(a: Tensor, b: Tensor) -> float:
    return float(torch.minimum(a, b).sum() / torch.maximum(a, b).sum().clamp(min=1e-6))


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """dB for values in 0..1; ``where`` [N, 1, H, W] bool restricts it."""
    squared = (a - b).square()
    mean = squared.mean() if where is None else squared[where.expand_as(squared)].mean()
    return -10 * math.log10(max(float(mean), 1e-10))


def name_colour(foreground: Tensor, alpha: Tensor) -> str:
    """The palette colour nearest to the alpha-weighted mean, for straight [N, 3, H, W]."""
    mean = (foreground * alpha).sum((0, 2, 3)) / alpha.sum().clamp(min=1e-6)
    palette = torch.tensor(list(COLOURS.values())) * _MEAN_SHADE
    return list(COLOURS)[int((palette - mean).square().sum(1).argmin())]


def name_background(background: Tensor) -> str:
    """The background whose nearest phase is closest to the clip's mean picture."""
    picture = background.mean(0)
    y, x = torch.meshgrid((torch.arange(HEIGHT) + 0.5) / HEIGHT, (torch.arange(WIDTH) + 0.5) / HEIGHT, indexing="ij")

    def distance(name: str) -> float:
        return min(float((BACKGROUNDS[name](x, y, i / _PHASES) - picture).square().mean()) for i in range(_PHASES))

    return min(BACKGROUNDS, key=distance)


def evaluate(model: LayerFlowModel, scenes: int = 24, settings: SamplerSettings | None = None) -> Figures:
    """Run all tasks on ``scenes`` held-out scenes; those with a layer given, which cost as much again, on a third of them."""
    settings = settings or SamplerSettings(**model.config.sampler)
    pairs = [(scene, render(scene)) for scene in (draw_scene(FIRST_SEED + i, held_out=True) for i in range(scenes))]
    apart = [_take_apart(model, scene, true, settings, i) for i, (scene, true) in enumerate(pairs)]
    made = [[make_layers(model, Run(scene.prompts, given(true), settings, i)) for i, (scene, true) in enumerate(pairs[:count])]
            for given, count in zip(_GIVEN, (scenes, -(-scenes // 3), -(-scenes // 3)))]  # fmt: skip
    truth = [true for _, true in pairs]
    return Figures(scenes, **_decomposition(apart, truth), **_generation(*made, pairs), vae_psnr=_vae_psnr(model, truth))


# Nothing, the background, the foreground.
_GIVEN = (
    lambda true: {},
    lambda true: {BACKGROUND: true.background.contiguous()},
    lambda true: {FOREGROUND: true.foreground, ALPHA: true.alpha},
)


def _vae_psnr(model: LayerFlowModel, truth: list[TrueLayers]) -> dict[str, float]:
    layout, errors = model.config.layout, {}
    for true in truth:
        clips = dict(zip(layout.names, model_clips(true)))
        restored = model.vae.decode(model.vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR)), layout)
        for name in layout.names:
            errors.setdefault(name, []).append(psnr(restored[name] / 2, clips[name] / 2))
    return {name: _mean(values) for name, values in errors.items()}


def _take_apart(model: LayerFlowModel, scene: Scene, true: TrueLayers, settings: SamplerSettings, seed: int) -> LayerVideo:
    prompts = {FOREGROUND: scene.foreground_prompt, BACKGROUND: scene.background_prompt}
    return decompose(model, true.blended, Run(prompts, {}, settings, seed))


def _mean(values) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _decomposition(apart: list[LayerVideo], truth: list[TrueLayers]) -> dict:
    others = truth[1:] + truth[:1]
    inside = [true.alpha > 0.5 * true.alpha.max() for true in truth]
    return {
        "alpha_mae": {
            "model": _mean(float((a.alpha - t.alpha).abs().mean()) for a, t in zip(apart, truth)),
            "empty alpha": _mean(float(t.alpha.mean()) for t in truth),
        },
        "alpha_iou": {
            "model": _mean(soft_iou(a.alpha, t.alpha) for a, t in zip(apart, truth)),
            "another scene's alpha": _mean(soft_iou(o.alpha, t.alpha) for o, t in zip(others, truth)),
        },
        "hidden_background_psnr": {
            "model": _mean(psnr(a.background, t.background, w) for a, t, w in zip(apart, truth, inside)),
            "the blend": _mean(psnr(t.blended, t.background, w) for t, w in zip(truth, inside)),
        },
        "background_psnr": {
            "model": _mean(psnr(a.background, t.background) for a, t in zip(apart, truth)),
            "the blend": _mean(psnr(t.blended, t.background) for t in truth),
        },
    }


def _generation(made: list[LayerVideo], before: list[LayerVideo], behind: list[LayerVideo], pairs: list[tuple[Scene, TrueLayers]]) -> dict:
    return {
        "colour_accuracy": {
            "model": _mean(name_colour(m.foreground, m.alpha) == s.colour for m, (s, _) in zip(made, pairs)),
            "model, background given": _mean(name_colour(m.foreground, m.alpha) == s.colour for m, (s, _) in zip(before, pairs)),
            "rule on true clips": _mean(name_colour(t.foreground, t.alpha) == s.colour for s, t in pairs),
            "chance": 1 / len(COLOURS),
        },
        "background_accuracy": {
            "model": _mean(name_background(m.background) == s.background for m, (s, _) in zip(made, pairs)),
            "model, foreground given": _mean(name_background(m.background) == s.background for m, (s, _) in zip(behind, pairs)),
            "rule on true clips": _mean(name_background(t.background) == s.background for s, t in pairs),
            "chance": 1 / len(BACKGROUNDS),
        },
        "recomposition_psnr": {
            "model": _mean(psnr(m.recompose(), m.blended) for m in made),
            "another clip's blend": _mean(psnr(m.recompose(), o.blended) for m, o in zip(made, made[1:] + made[:1])),
        },
    }


def write_figures(figures: Figures, path: Path) -> None:
    path.write_text(json.dumps(asdict(figures), indent=2) + "\n")
