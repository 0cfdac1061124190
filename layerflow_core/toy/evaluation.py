"""How good a model of the procedural world is, on scenes and combinations that no training saw, beside trivial answers.

Decomposition is measured against the true layers, generation by rules. Runs go through ``pipeline`` and ``footage`` as
a user's do, in bfloat16 where the processor has it, several processes side by side.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..atomic import replacing
from ..config import ModelConfig
from ..errors import SamplingError
from ..evaluation.fidelity import mean_error, psnr
from ..footage import decompose
from ..layers import Foreground, LayerVideo
from ..layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ..model.loading import LayerFlowModel, load_model
from ..model.lora_file import attach_lora
from ..pipeline import Run, make_layers
from ..runtime.devices import fast_autocast
from ..sampling.noise import POSTERIOR, NoiseSource
from ..sampling.sampler import SamplerSettings
from ..weights.checkpoint import read_checkpoint
from .head_by_head import HeadByHead
from .measures import (
    gradient_error,
    name_background,
    name_colour,
    name_motion,
    name_shape,
    path_length,
    shape_consistency,
    soft_iou,
)
from .vae_training import model_clips
from .world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Scene, TrueLayers, draw_scene, render

FIRST_SEED = 9 * 10**8  # far from every seed that trains
SEEDS_APART = 10**5  # between two evaluations' scenes
SCENES, STEPS = 64, 20
CONDITIONED = 4  # every N-th scene run with a layer given, too

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated.

    Args:
        checkpoint: file of our format.
        seed: of the held-out scenes and of the noise.
        scenes: how many.
        steps: of sampling; guidance and solver are the checkpoint's own.
        loras: content LoRA on top of the checkpoint.

    Raises:
        SamplingError: a seed or a number of scenes that makes no sense.
    """

    checkpoint: Path
    seed: int = 0
    scenes: int = SCENES
    steps: int = STEPS
    loras: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.seed < 0 or self.scenes < 2:
            raise SamplingError(
                f"got seed {self.seed} and {self.scenes} scenes, expected 0 or more and 2 or more"
            )

    def scene(self, index: int) -> Scene:
        return draw_scene(FIRST_SEED + SEEDS_APART * self.seed + index % self.scenes, held_out=True)

    def load(self) -> LayerFlowModel:
        return attach_lora(load_model(self.checkpoint), self.loras)


def evaluate(
    plan: EvaluationPlan, report: Callable[[int, int], None] = lambda done, total: None
) -> dict:
    """Run both tasks on all scenes.

    Returns:
        ``decompose``, ``generate``, ``conditioned``, ``trivial``, ``truth`` (the rules on true clips) and ``vae``, each
        {measure: mean over scenes}; ``spread`` with the same measures' standard errors; and what was run.
    """
    rows: list[Figures] = []
    processes = min(plan.scenes, os.cpu_count() or 1)
    with ProcessPoolExecutor(
        processes, torch.multiprocessing.get_context("spawn"), _start, (plan,)
    ) as pool:
        for row in pool.map(_measure_in_worker, range(plan.scenes)):
            rows.append(row)
            report(len(rows), plan.scenes)
    config = read_checkpoint(plan.checkpoint).config
    guidance = {
        task: f"{s.guidance} {s.scale:g}"
        for task, s in (
            ("decompose", _settings(config, plan, BLENDED)),
            ("generate", _settings(config, plan)),
        )
    }
    facts = {"scenes": plan.scenes, "seed": plan.seed, "steps": plan.steps, "guidance": guidance}
    return {**facts, **_summarise(rows, _mean), "spread": _summarise(rows, _standard_error)}


_worker: tuple[LayerFlowModel, EvaluationPlan] | None = None


def _start(plan: EvaluationPlan) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = plan.load(), plan


def _measure_in_worker(index: int) -> Figures:
    return measure_scene(*_worker, index)


def _settings(config: ModelConfig, plan: EvaluationPlan, *given: str) -> SamplerSettings:
    return replace(SamplerSettings(**config.sampler_for(given)), steps=plan.steps)


def measure_scene(model: LayerFlowModel, plan: EvaluationPlan, index: int) -> Figures:
    """All figures of one scene."""
    scene = plan.scene(index)
    true, other = (
        render(shown, None, *model.frame_size) for shown in (scene, plan.scene(index + 1))
    )
    seed = plan.seed * SEEDS_APART + index
    two_prompts = {FOREGROUND: scene.foreground_prompt, BACKGROUND: scene.background_prompt}

    def run(prompts: dict[str, str], given: dict[str, Tensor], *names: str) -> Run:
        return Run(prompts, given, _settings(model.config, plan, *given, *names), seed)

    with fast_autocast(torch.device("cpu")), HeadByHead():
        apart = decompose(model, true.blended, run(two_prompts, {}, BLENDED))
        made = make_layers(model, run(scene.prompts, {}))
        figures = {
            "decompose": _compare(apart, true),
            "generate": _judge(made, scene),
            "trivial": _trivial(true, other),
            "truth": _judge(_as_video(true, made.fps), scene),
            "vae": _vae_psnr(model, true),
        }
        if index % CONDITIONED == 0:
            behind = make_layers(
                model, run(scene.prompts, {FOREGROUND: true.foreground, ALPHA: true.alpha})
            )
            before = make_layers(
                model, run(scene.prompts, {BACKGROUND: true.background.contiguous()})
            )
            figures["conditioned"] = {
                "background_for_foreground": float(
                    name_background(behind.background) == scene.background
                ),
                "color_for_background": float(
                    name_colour(before.foreground, before.alpha) == scene.colour
                ),
                "shape_for_background": float(name_shape(before.alpha) == scene.shape),
            }
    return figures


def _compare(made: LayerVideo, true: TrueLayers) -> dict[str, float]:
    """Layers against the true ones; ``background_psnr`` in dB under the object, ``alpha_gradient`` per pixel."""
    inside = true.alpha > 0.5 * true.alpha.max()
    return {
        "alpha_mae": mean_error(made.alpha, true.alpha),
        "alpha_iou": soft_iou(made.alpha, true.alpha),
        "alpha_gradient": gradient_error(made.alpha, true.alpha),
        "background_psnr": psnr(made.background, true.background, inside),
        "background_psnr_whole": psnr(made.background, true.background),
        "foreground_mae": mean_error(made.foreground, true.foreground, inside),
    }


def _judge(made: LayerVideo, scene: Scene) -> dict[str, float]:
    """Whether a clip shows what the prompt says (0 or 1 each), how it moves, and whether its layers make its blend."""
    return {
        "color": float(name_colour(made.foreground, made.alpha) == scene.colour),
        "background": float(name_background(made.background) == scene.background),
        "shape": float(name_shape(made.alpha) == scene.shape),
        "motion": float(name_motion(made.alpha) == scene.motion),
        "dynamic_degree": path_length(made.alpha),
        "frame_consistency": shape_consistency(made.alpha),
        "composite_mae": mean_error(made.recompose(), made.blended),
    }


def _as_video(true: TrueLayers, fps: float) -> LayerVideo:
    return LayerVideo(
        (Foreground(FOREGROUND, true.foreground, true.alpha),), true.background, true.blended, fps
    )


def _trivial(true: TrueLayers, other: TrueLayers) -> dict[str, float]:
    """What one gets without a model: an empty alpha, another scene's alpha or blend, the blend as
    background, a guess.
    """
    inside = true.alpha > 0.5 * true.alpha.max()
    return {
        "empty_alpha_mae": float(true.alpha.mean()),
        "empty_alpha_gradient": gradient_error(torch.zeros_like(true.alpha), true.alpha),
        "other_alpha_iou": soft_iou(other.alpha, true.alpha),
        "blend_as_background_psnr": psnr(true.blended, true.background, inside),
        "blend_as_background_psnr_whole": psnr(true.blended, true.background),
        "other_blend_composite_mae": mean_error(other.blended, true.blended),
        "guessed_color": 1 / len(COLOURS),
        "guessed_background": 1 / len(BACKGROUNDS),
        "guessed_shape": 1 / len(SHAPES),
        "guessed_motion": 1 / len(MOTIONS),
    }


def _vae_psnr(model: LayerFlowModel, true: TrueLayers) -> dict[str, float]:
    """dB of each kind of clip, encoded and decoded: what no figure above can exceed."""
    layout = model.config.layout
    clips = dict(zip(layout.names, model_clips(true)))
    restored = model.vae.decode(
        model.vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR)), layout
    )
    return {name: psnr(restored[name] / 2, clips[name] / 2) for name in layout.names}


def _summarise(rows: Iterable[Figures], summary: Callable[[list[float]], float]) -> Figures:
    columns: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for group, figures in row.items():
            for name, value in figures.items():
                columns.setdefault(group, {}).setdefault(name, []).append(value)
    return {
        group: {name: round(summary(values), 5) for name, values in figures.items()}
        for group, figures in columns.items()
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _standard_error(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def write_figures(figures: Mapping, path: Path) -> None:
    """Atomically, as JSON; raises VideoFileError if the place cannot be written."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(figures, indent=2) + "\n")
