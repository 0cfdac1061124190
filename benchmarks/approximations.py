"""What leaving out work costs: ``python -m benchmarks.approximations [embedded [SCENES]|random]``.

* embedded: the embedded model generates and decomposes held-out scenes; mean absolute difference (0 to 1) of a layer
  to the same run with every step computed, the largest over layers, and the share of block calls that remain.
* random: CogVideoX-2B's width, random weights, the official sampler; difference of the final latents, relative to
  their spread.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

from benchmarks.step import build
from layerflow_core.inference import prepare_for_inference
from layerflow_core.layout import BLENDED
from layerflow_core.model.loading import LayerFlowModel, load_model
from layerflow_core.model.step_cache import StepCache
from layerflow_core.pipeline import Run, make_layers, predictor
from layerflow_core.sampling.noise import NoiseSource
from layerflow_core.sampling.sampler import SamplerSettings, sample
from layerflow_core.sampling.schedule import Schedule
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.world import draw_scene, render

SCENES = 2
FIRST_SEED = 950
STEPS = 50
RANDOM_STEPS = 20
ODE = "dpmpp_2m"
CACHES = (0.05, 0.1, 0.2)
MARGINS = (0.1, 0.5, 1.0)
FEWER = (25, 12)


def variants(exact: SamplerSettings) -> dict[str, SamplerSettings]:
    """The exact run and what is left out of it, by name."""
    rows = {f"{exact.steps} steps, {exact.solver}": exact}
    rows |= {f"step cache {share}": replace(exact, step_cache=share) for share in CACHES}
    if exact.guidance == "dynamic":  # a constant weight is near 1 always or never
        rows |= {
            f"guidance margin {margin}": replace(exact, guidance_margin=margin)
            for margin in MARGINS
        }
    return rows | {
        f"{steps} steps, {ODE}": replace(exact, steps=steps, solver=ODE)
        for steps in FEWER
        if steps < exact.steps
    }


class BlockCalls:
    """Counts calls of a network's blocks, a call with two branches as two."""

    def __init__(self, model: LayerFlowModel) -> None:
        self.count = 0
        for block in model.network.backbone.transformer_blocks:
            block.register_forward_pre_hook(self._add, with_kwargs=True)

    def _add(self, module, inputs, named) -> None:
        self.count += len(named["hidden_states"])

    def take(self) -> int:
        count = self.count
        self.count = 0
        return count


def run_embedded(scenes: int = SCENES) -> None:
    model = prepare_for_inference(load_model(EMBEDDED))
    calls = BlockCalls(model)
    tasks = {
        "generation, dynamic guidance": ("dynamic", 3.0, False),
        "decomposition, dynamic guidance": ("dynamic", 1.0, True),
    }
    for task, (guidance, scale, decompose) in tasks.items():
        print(
            f"\n{task}, scenes: {scenes}, {STEPS} steps\n\n| | largest mean difference of a "
            "layer | block calls |\n|---|---|---|"
        )
        references = []
        full = 0
        for name, settings in variants(SamplerSettings(STEPS, guidance, scale, ODE)).items():
            made = []
            for number in range(scenes):
                scene = draw_scene(FIRST_SEED + number, held_out=True)
                given = {BLENDED: render(scene).blended} if decompose else {}
                prompts = {key: text for key, text in scene.prompts.items() if key not in given}
                made.append(make_layers(model, Run(prompts, given, settings, number)).clips())
            count = calls.take()
            references = references or made
            full = full or count
            worst = max(
                sum(float((a[k] - b[k]).abs().mean()) for a, b in zip(made, references)) / scenes
                for k in made[0]
            )
            print(f"| {name} | {worst:.4f} | {count / full:.2f} |", flush=True)


def run_random() -> None:
    model = prepare_for_inference(build(2, 8, 12, torch.float32, "cpu"))
    calls = BlockCalls(model)
    layout = model.config.layout
    size = model.config.network
    noise = NoiseSource(0)
    shape = (1, layout.frames, size.latent_channels, 8, 12)
    context = torch.randn(
        1, model.config.text_length, size.text_embed_dim, generator=noise.generator(7)
    )
    size_text = f"width {size.hidden_size}, 2 blocks, 8 x 12 latents, {RANDOM_STEPS} steps"
    print(
        f"random weights, {size_text}\n\n| | difference of latents | block calls |\n|---|---|---|"
    )
    reference = None
    full = 0
    for name, settings in variants(SamplerSettings(RANDOM_STEPS, "dynamic", 6.0)).items():
        predict = predictor(
            model, layout, context, None, None, StepCache(model.config, layout, settings.step_cache)
        )
        latents = sample(predict, noise.initial(shape), noise.per_step(shape), Schedule(), settings)
        count = calls.take()
        reference = latents if reference is None else reference
        full = full or count
        print(
            f"| {name} | {float((latents - reference).abs().mean() / reference.std()):.4f} | {count / full:.2f} |",
            flush=True,
        )


def main() -> None:
    torch.set_num_threads(2)
    names, counts = (
        [part for part in sys.argv[1:] if part.isdigit() is digits] for digits in (False, True)
    )
    for name in names or ("embedded", "random"):
        run_random() if name == "random" else run_embedded(*map(int, counts))


if __name__ == "__main__":
    main()
