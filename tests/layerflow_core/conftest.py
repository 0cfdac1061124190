"""A network of tiny dimensions, for what does not need a trained one."""

from __future__ import annotations

import pytest
import torch

from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.layout import find_layout
from layerflow_core.model.loading import build_network, network_tensors
from layerflow_core.model.network import LayerFlowNetwork

TINY = NetworkConfig(2, 16, 2, 16, 8, 4, 4, 6, 2, tokens_per_text=5)


@pytest.fixture
def make_network():
    """(variant or layout, ranks) -> a network with random weights, LoRA included."""

    def make(
        layout="gen_rgba", content: int = 0, motion: int = 0, dims: NetworkConfig = TINY
    ) -> LayerFlowNetwork:
        from dataclasses import replace

        torch.manual_seed(0)
        layout = find_layout(layout) if isinstance(layout, str) else layout
        config = ModelConfig(layout, replace(dims, content_rank=content, motion_rank=motion))
        tensors = network_tensors(LayerFlowNetwork(config))
        tensors = {k: torch.randn_like(v) * 0.2 for k, v in tensors.items()}
        width = dims.hidden_size
        for name, rank in (("content", content), ("motion", motion)):
            for i in range(dims.num_layers if rank else 0):
                for part in ("to_q", "to_k", "to_v", "to_out.0"):
                    path = f"{name}.transformer_blocks.{i}.attn1.{part}"
                    tensors |= {
                        f"{path}.down": torch.randn(rank, width),
                        f"{path}.up": torch.randn(width, rank),
                    }
        return build_network(config, tensors)

    return make


@pytest.fixture
def inputs_for():
    """Random latents, context and timesteps that fit a network."""

    def make(network: LayerFlowNetwork, batch: int = 1):
        config, dims = network.config, network.config.network
        torch.manual_seed(1)
        latents = torch.randn(
            batch, config.layout.frames, dims.latent_channels, dims.latent_height, dims.latent_width
        )
        return (
            latents,
            torch.randn(batch, config.text_length, dims.text_embed_dim),
            torch.full((batch,), 500),
        )

    return make
