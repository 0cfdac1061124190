"""How a step grows with the number of clips and of frames: ``python -m benchmarks.growth [BLOCKS HEIGHT WIDTH]``.

CogVideoX-2B's width, random weights, float32 on a CPU, bf16 on a GPU. Memory is counted (see ``memory.count_peak``),
beside the weights; time and memory are ratios to three clips of four latent frames, measured in turn.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

from benchmarks.step import time_call
from benchmarks.synthetic import random_tensors
from layerflow_core.check.true_size import official_config
from layerflow_core.inference import prepare_for_inference
from layerflow_core.layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, Clip, Layout
from layerflow_core.model.loading import LayerFlowModel, build_network
from layerflow_core.pipeline import predictor
from layerflow_core.runtime.peaks import network_peak

ROUNDS = 2


def layout_of(foregrounds: int, frames: int, with_alpha: bool = True) -> Layout:
    """Foregrounds with their alphas, background and blended."""
    kinds = [
        (f"{kind}{i}", kind)
        for i in range(foregrounds)
        for kind in ((FOREGROUND, ALPHA) if with_alpha else (FOREGROUND,))
    ]
    clips = tuple(
        Clip(name, kind, frames)
        for name, kind in [*kinds, (BACKGROUND, BACKGROUND), (BLENDED, BLENDED)]
    )
    described = [clip.name for clip in clips if clip.kind != ALPHA]
    return Layout("grown", clips, tuple(described))


ROWS = {
    "3 clips of 4 latent frames (RGB)": layout_of(1, 4, False),
    "4 clips of 4 (RGBA)": layout_of(1, 4),
    "6 clips of 4 (two foregrounds)": layout_of(2, 4),
    "8 clips of 4 (three foregrounds)": layout_of(3, 4),
    "4 clips of 2": layout_of(1, 2),
    "4 clips of 8": layout_of(1, 8),
}


def _time_step(model: LayerFlowModel) -> float:
    size = model.config.network
    layout = model.config.layout
    x = torch.randn(
        1,
        layout.frames,
        size.latent_channels,
        size.latent_height,
        size.latent_width,
        device=model.network.position_table.device,
    )
    predict = predictor(
        model, layout, torch.randn(1, model.config.text_length, size.text_embed_dim), None
    )
    return time_call(lambda: predict(x, 500))


def main() -> None:
    blocks, height, width = (int(number) for number in (sys.argv[1:] or ("2", "12", "18")))
    device, dtype = (
        ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    )
    models = {}
    for name, layout in ROWS.items():
        config = replace(official_config(blocks=blocks, latent_size=(height, width)), layout=layout)
        models[name] = prepare_for_inference(
            LayerFlowModel(
                config, build_network(config, random_tensors(config, dtype)).to(device).fold()
            )
        )
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS + 1):  # the first warms up
        for name, model in models.items():
            times[name].append(_time_step(model))
    first = next(iter(models))
    base = min(times[first][1:])
    least = network_peak(models[first], 2, torch.device(device))
    print(
        f"{blocks} blocks, {height} x {width} latents, {dtype}, {device}\n\n| | tokens | time | "
        "memory beside weights |\n|---|---|---|---|"
    )
    for name, model in models.items():
        peak = network_peak(model, 2, torch.device(device))
        print(
            f"| {name} | {model.config.sequence_length} | {min(times[name][1:]) / base:.2f} | {peak / least:.2f} |"
        )


if __name__ == "__main__":
    main()
