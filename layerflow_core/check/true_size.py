"""A model of true size with nobody's weights: CogVideoX-2B's dimensions, 480 x 720, sixteen frames a layer.

Its parts have random weights, so what they draw is noise; what they cost is what the released ones cost.
"""

from __future__ import annotations

import torch
from torch import nn

from ..config import ModelConfig, NetworkConfig
from ..inference import prepare_for_inference
from ..layout import find_layout
from ..model.loading import LayerFlowModel, load_model
from ..model.network import LayerFlowNetwork
from ..model.text import TextEncoder, prepare_t5
from ..model.vae import LayerVAE, build_vae
from ..toy.embedded import EMBEDDED

VARIANT = "gen_rgba"
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
_META = torch.device("meta")
_FILL = 0.5  # of biases and scales


def official_config(
    variant: str = VARIANT,
    width: int = 1920,
    blocks: int = 30,
    latent_size: tuple[int, int] = (60, 90),
) -> ModelConfig:
    """CogVideoX-2B's dimensions but for width, blocks and latent height and width, with both LoRA."""
    height, width_of_latents = latent_size
    network = NetworkConfig(
        num_attention_heads=width // 64,
        num_layers=blocks,
        latent_height=height,
        latent_width=width_of_latents,
        content_rank=min(256, width // 4),
        motion_rank=8,
    )
    return ModelConfig(find_layout(variant), network)


def empty_model(variant: str = VARIANT, dtype: torch.dtype = torch.bfloat16) -> LayerFlowModel:
    """Transformer and VAE without data, content LoRA merged."""
    config = official_config(variant)
    with _META:
        network = LayerFlowNetwork(config).to(dtype).eval().requires_grad_(False).fold()
        vae = build_vae(TRUE_VAE).to(dtype).requires_grad_(False)
    return LayerFlowModel(config, network, vae=LayerVAE(vae))


def empty_t5(dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """T5 v1.1 XXL's encoder without data."""
    from transformers import T5Config, T5EncoderModel

    with _META:
        return T5EncoderModel(T5Config(**TRUE_T5)).to(dtype).eval().requires_grad_(False)


def random_model(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> LayerFlowModel:
    """Transformer and VAE in RAM, as they are loaded for inference; their numbers are drawn on a device."""
    model = prepare_for_inference(empty_model(dtype=dtype))
    _draw(model.network, device)
    _draw(model.require_vae().vae, device)
    return model


def random_text(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> TextEncoder:
    """The text encoder in RAM, with the embedded model's words."""
    tokenizer = load_model(EMBEDDED).require_text().tokenizer
    t5 = empty_t5(dtype)
    prepare_t5(t5)
    _draw(t5, device)
    t5.set_input_embeddings(t5.shared)  # one matrix under two names, which were drawn apart
    return TextEncoder(tokenizer, t5, official_config().network.tokens_per_text)


def _draw(part: nn.Module, device: torch.device) -> None:
    """Random weights, in place; a GPU draws them in a tenth of the time, and never holds more than one."""
    part.to_empty(device="cpu")
    drawn: set[int] = set()
    for tensor in (*part.parameters(), *part.buffers()):
        if id(tensor) in drawn:
            continue
        drawn.add(id(tensor))
        if tensor.dim() < 2 or not tensor.is_floating_point():
            tensor.data.fill_(_FILL)
            continue
        spread = tensor[0].numel() ** -0.5
        values = torch.randn(tensor.shape, device=device, dtype=tensor.dtype) * spread
        tensor.data.copy_(values)
