"""Every official variant under every plan, one of them in every precision, at true size: ``python -m
benchmarks.matrix [VARIANT...]``.

The real modules run on fake tensors, so a mix of types would raise as on a card; what is printed is what they allocate,
weights included, GiB.
"""

from __future__ import annotations

import sys

import torch

from layerflow_core.check.true_size import empty_model
from layerflow_core.inference import prepare_for_inference
from layerflow_core.layout import OFFICIAL_VARIANTS
from layerflow_core.model.fp8 import store_in_fp8
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.vae import VAE_MODES
from layerflow_core.runtime.memory import GIB, NETWORK_PLANS, size_at_work, size_of
from layerflow_core.runtime.peaks import network_peak, vae_peak

DEVICE = torch.device("cpu")
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": None}
IN_EVERY_PRECISION = "gen_rgba"
MODES = [mode for mode in VAE_MODES if not mode.on_cpu]


def build(variant: str, precision: str) -> LayerFlowModel:
    model = prepare_for_inference(empty_model(variant, PRECISIONS[precision] or torch.bfloat16))
    if precision == "fp8":
        store_in_fp8(model.network)
    return model


def count(model: LayerFlowModel) -> list[float]:
    """Of every plan of the transformer, then of every mode of the VAE."""
    network = model.network
    blocks = list(network.backbone.transformer_blocks)
    sizes = [
        size_at_work(network, blocks, plan)
        + network_peak(model, 1 + plan.branches_together, DEVICE)
        for plan in NETWORK_PLANS
    ]
    vae = size_of(model.require_vae().vae)
    sizes += [vae + vae_peak(model, model.config.layout, mode, DEVICE) for mode in MODES]
    return [size / GIB for size in sizes]


def main() -> None:
    names = [plan.name for plan in NETWORK_PLANS] + [f"VAE {mode.name}" for mode in MODES]
    print(f"| variant | tokens | | {' | '.join(names)} |\n{'|---' * (len(names) + 3)}|")
    for variant in sys.argv[1:] or OFFICIAL_VARIANTS:
        for precision in PRECISIONS if variant == IN_EVERY_PRECISION else ["bf16"]:
            model = build(variant, precision)
            sizes = " | ".join(f"{size:.1f}" for size in count(model))
            tokens = model.config.sequence_length
            print(f"| {variant} | {tokens} | {precision} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
