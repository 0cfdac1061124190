"""What every plan needs for a checkpoint of true size, counted without weights or a GPU: ``python
-m benchmarks.plans [VARIANT]``.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from benchmarks.synthetic import official_config
from layerflow_core.layout import find_layout
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.model.vae import VAE_MODES, LayerVAE, build_vae
from layerflow_core.runtime.memory import GIB, NETWORK_PLANS, TEXT_PLANS, PartPlan, size_at_work
from layerflow_core.runtime.placement import TEXT_PEAK, network_peak, vae_peak

TRUE_VAE = {
    "block_out_channels": (128, 256, 256, 512),
    "layers_per_block": 3,
    "latent_channels": 16,
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
}
TRUE_T5 = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
_CPU = torch.device("cpu")


def true_model(variant: str) -> LayerFlowModel:
    """CogVideoX-2B's dimensions in bf16, content LoRA merged, without data."""
    config = official_config(variant)
    with torch.device("meta"):
        network = LayerFlowNetwork(config).bfloat16().eval().requires_grad_(False).fold()
        vae = build_vae(TRUE_VAE).bfloat16().requires_grad_(False)
    return LayerFlowModel(config, network, vae=LayerVAE(vae))


def true_t5() -> nn.Module:
    """T5 v1.1 XXL's encoder in bf16, without data."""
    from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        return T5EncoderModel(T5Config(**TRUE_T5)).bfloat16()


def rows(model: LayerFlowModel, variant: str):
    t5 = true_t5()
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
    for name, weights, beside in rows(true_model(variant), variant):
        print(
            f"| {name} | {weights / GIB:.1f} | {beside / GIB:.1f} | {(weights + beside) / GIB:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
