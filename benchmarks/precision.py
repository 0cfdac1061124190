"""What fewer bits cost: decompositions of held-out scenes by the embedded model, ``python -m benchmarks.precision
[SCENES]``; on a CPU that emulates bf16 all rows compute in float32.
"""

from __future__ import annotations

import sys

import torch

from layerflow_core.layers import LayerVideo
from layerflow_core.layout import BLENDED
from layerflow_core.model.fp8 import store_in_fp8
from layerflow_core.model.loading import LayerFlowModel, load_model
from layerflow_core.pipeline import Run, make_layers
from layerflow_core.runtime.devices import multiplies_halves
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.world import draw_scene, render

SCENES = 6
FIRST_SEED = 900
STEPS = 12


def load(precision: str) -> LayerFlowModel:
    is_wide = precision == "fp32" or not multiplies_halves(torch.device("cpu"))
    model = load_model(EMBEDDED, torch.float32 if is_wide else torch.bfloat16)
    if precision.startswith("fp8"):
        store_in_fp8(model.network, precision == "fp8_fast")
    return model


def take_apart(model: LayerFlowModel, number: int) -> LayerVideo:
    scene = draw_scene(FIRST_SEED + number, held_out=True)
    settings = SamplerSettings(**{**model.config.sampler_for((BLENDED,)), "steps": STEPS})
    prompts = {name: text for name, text in scene.prompts.items() if name != BLENDED}
    return make_layers(model, Run(prompts, {BLENDED: render(scene).blended}, settings, number))


def mean_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    return float(torch.stack([(a - b).abs().mean() for a, b in zip(ours, theirs)]).mean())


def main() -> None:
    torch.set_num_threads(2)
    scenes = int(sys.argv[1]) if len(sys.argv) > 1 else SCENES
    truth = [render(draw_scene(FIRST_SEED + number, held_out=True)) for number in range(scenes)]
    reference: list[LayerVideo] = []
    print(
        f"{scenes} scenes, {STEPS} steps\n\n| | alpha against truth | alpha against fp32 | "
        "background against fp32 |\n|---|---|---|---|"
    )
    for precision in ("fp32", "bf16", "fp8", "fp8_fast"):
        model = load(precision)
        layers = [take_apart(model, number) for number in range(scenes)]
        reference = reference or layers
        figures = (
            mean_difference([v.alpha for v in layers], [t.alpha for t in truth]),
            mean_difference([v.alpha for v in layers], [r.alpha for r in reference]),
            mean_difference([v.background for v in layers], [r.background for r in reference]),
        )
        print(
            f"| {precision} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
