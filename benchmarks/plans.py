"""What every plan needs for a checkpoint of true size, counted without weights or a GPU: ``python
-m benchmarks.plans [VARIANT]``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

from layerflow_core.check.true_size import empty_model, empty_t5
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.vae import VAE_MODES
from layerflow_core.runtime.memory import GIB, NETWORK_PLANS, TEXT_PLANS, size_at_work, size_of
from layerflow_core.runtime.peaks import TEXT_PEAK, network_peak, vae_peak

_CPU = torch.device("cpu")


Need = tuple[str, int, int]
"""A plan's name, and bytes of its weights and of its work beside them."""


def text_needs() -> Iterator[Need]:
    t5 = empty_t5()
    for plan in TEXT_PLANS:
        weights = size_at_work(t5, list(t5.encoder.block), plan)
        yield f"text encoder, {plan.name}", weights, TEXT_PEAK


def model_needs(model: LayerFlowModel) -> Iterator[Need]:
    """Of the transformer and the VAE."""
    network = model.network
    blocks = list(network.backbone.transformer_blocks)
    for plan in NETWORK_PLANS:
        weights = size_at_work(network, blocks, plan)
        beside = network_peak(model, 1 + plan.branches_together, _CPU)
        yield f"transformer, {plan.name}", weights, beside
    vae = size_of(model.require_vae().vae)
    for mode in VAE_MODES:
        if not mode.on_cpu:
            yield f"VAE, {mode.name}", vae, vae_peak(model, model.config.layout, mode, _CPU)


def main() -> None:
    variant = sys.argv[1] if len(sys.argv) > 1 else "gen_rgba"
    print(
        f"{variant}, 480 x 720, bf16\n\n| | weights, GiB | beside them | together |\n|---|---|---|---|"
    )
    for name, weights, beside in (*text_needs(), *model_needs(empty_model(variant))):
        print(
            f"| {name} | {weights / GIB:.1f} | {beside / GIB:.1f} | {(weights + beside) / GIB:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
