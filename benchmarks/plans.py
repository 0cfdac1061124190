"""What every plan needs for a checkpoint of true size, counted without weights or a GPU: ``python
-m benchmarks.plans [VARIANT]``.
"""

from __future__ import annotations

import sys

import torch

from layerflow_core.check.true_size import empty_model, empty_t5
from layerflow_core.layout import find_layout
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.vae import VAE_MODES
from layerflow_core.runtime.memory import GIB, NETWORK_PLANS, TEXT_PLANS, PartPlan, size_at_work
from layerflow_core.runtime.peaks import TEXT_PEAK, network_peak, vae_peak

_CPU = torch.device("cpu")


def rows(model: LayerFlowModel, variant: str):
    t5 = empty_t5()
    for plan in TEXT_PLANS:
        yield (
            f"text encoder, {plan.name}",
            size_at_work(t5, list(t5.encoder.block), plan),
            TEXT_PEAK,
        )
    blocks = list(model.network.backbone.transformer_blocks)
    for plan in NETWORK_PLANS:
        yield (
            f"transformer, {plan.name}",
            size_at_work(model.network, blocks, plan),
            network_peak(model, 1 + plan.branches_together, _CPU),
        )
    for mode in VAE_MODES:
        yield (
            f"VAE, {mode.name}",
            size_at_work(model.vae.vae, [], PartPlan("")),
            vae_peak(model, find_layout(variant), mode, _CPU),
        )


def main() -> None:
    variant = sys.argv[1] if len(sys.argv) > 1 else "gen_rgba"
    print(
        f"{variant}, 480 x 720, bf16\n\n| | weights, GiB | beside them | together |\n|---|---|---|---|"
    )
    for name, weights, beside in rows(empty_model(variant), variant):
        print(
            f"| {name} | {weights / GIB:.1f} | {beside / GIB:.1f} | {(weights + beside) / GIB:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
