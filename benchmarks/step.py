"""One sampling step against others of equal tokens and dtype: ``python -m benchmarks.step [BLOCKS [HEIGHT WIDTH]]``.

CogVideoX-2B's width, random weights, float32 on a CPU, bf16 on a GPU. Rounds go through all in turn, so that a noisy
machine is noisy for all of them; the figure is a ratio of the fastest rounds.

* plain: diffusers' transformer alone, both branches of guidance in one call.
* official: what the released code does in a step: motion LoRA computed and multiplied by zero, content LoRA unmerged.
* ours: a call of ``pipeline.predictor`` of a model after ``prepare_for_inference``: LoRA merged, projections fused.
* compiled: the same with compiled blocks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from benchmarks.synthetic import random_tensors
from layerflow_core.check.true_size import official_config
from layerflow_core.inference import ComputeOptions, prepare_for_inference, with_compute
from layerflow_core.model.loading import LayerFlowModel, build_network
from layerflow_core.model.lora import CONTENT, MOTION, adapted_layers, merge, set_strengths
from layerflow_core.pipeline import predictor

ROUNDS = 5


def build(blocks: int, height: int, width: int, dtype: torch.dtype, device: str) -> LayerFlowModel:
    config = official_config(blocks=blocks, latent_size=(height, width))
    return LayerFlowModel(
        config, build_network(config, random_tensors(config, dtype)).to(device).fold()
    )


def contestants(
    blocks: int, height: int, width: int, dtype: torch.dtype, device: str
) -> dict[str, Callable[[], object]]:
    ours, official = (build(blocks, height, width, dtype, device) for _ in range(2))
    prepare_for_inference(ours)
    plainly = build(blocks, height, width, dtype, device)
    merge(plainly.network.backbone)
    compiled = with_compute(ours, ComputeOptions(compiled=True), torch.device(device))
    set_strengths(official.network.backbone, {CONTENT: 1.0, MOTION: 1.0})
    for _, layer in adapted_layers(official.network.backbone):
        layer.set_scale(MOTION, 0.0)
    config = ours.config
    layout = ours.config.layout
    size = config.network
    x = torch.randn(1, layout.frames, size.latent_channels, height, width, device=device)
    context = torch.randn(1, config.text_length, size.text_embed_dim)
    texts = torch.cat([torch.zeros_like(context), context]).to(device, dtype)
    both = x.to(dtype).expand(2, -1, -1, -1, -1)
    timestep = torch.full((2,), 500, device=device)

    @torch.inference_mode()
    def plain() -> object:
        return plainly.network.backbone(
            hidden_states=both, encoder_hidden_states=texts, timestep=timestep, return_dict=False
        )

    predict = {
        name: predictor(model, layout, context, None)
        for name, model in (("ours", ours), ("official", official), ("compiled", compiled))
    }
    return {
        "plain": plain,
        **{name: lambda call=call: call(x, 500) for name, call in predict.items()},
    }


def time_call(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    blocks, height, width = (
        int(number) for number in (*sys.argv[1:], *("4", "24", "36")[len(sys.argv) - 1 :])
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    calls = contestants(blocks, height, width, dtype, device)
    for call in calls.values():
        call()
    rounds = [{name: time_call(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    best = {name: min(times[name] for times in rounds) for name in calls}
    print(
        f"{blocks} blocks, {height} x {width} latents, {dtype}, {device}: ours {best['ours']:.2f} s; "
        f"plain diffusers takes {best['plain'] / best['ours']:.2f} of that, the official work "
        f"{best['official'] / best['ours']:.2f}, "
        f"ours compiled {best['compiled'] / best['ours']:.2f}"
    )


if __name__ == "__main__":
    main()
