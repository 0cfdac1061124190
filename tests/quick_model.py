"""A checkpoint of the embedded model's shape but tiny widths, for runs whose image does not matter.

It takes the embedded model's text encoder and vocabulary, its layout and its frames of 96 x 64; network and VAE are
small and have random weights. A run of two steps costs a tenth of the embedded model's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from layerflow_core.config import ModelConfig
from layerflow_core.model.loading import network_tensors
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.model.vae import build_vae
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

HEADS = 3
HEAD_WIDTH = 16
VAE_WIDTHS = [2, 2, 2]
STEPS = 2
_SPREAD = 0.2  # of the network's weights: outputs of the size of its inputs


def write_quick_checkpoint(path: Path) -> Path:
    """The same weights in every process."""
    embedded = read_checkpoint(EMBEDDED)
    kept = {
        key: value
        for key, value in embedded.tensors.items()
        if not key.startswith(("network.", "vae."))
    }
    config = _small_config(embedded.config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = _draw_network(config) | _draw_vae(config)
    write_checkpoint(Checkpoint(config, {**kept, **drawn}), path)
    return path


def _small_config(config: ModelConfig) -> ModelConfig:
    network = replace(config.network, num_attention_heads=HEADS, attention_head_dim=HEAD_WIDTH)
    vae = {**config.vae, "block_out_channels": VAE_WIDTHS, "norm_num_groups": 1}
    sampler = {**config.sampler, "steps": STEPS}
    # Without a limit no footage is called unlike the model's world.
    return replace(config, network=network, vae=vae, sampler=sampler, reconstruction_limit=None)


def _draw_network(config: ModelConfig) -> dict[str, Tensor]:
    shapes = network_tensors(LayerFlowNetwork(config))
    return {f"network.{key}": _SPREAD * torch.randn_like(value) for key, value in shapes.items()}


def _draw_vae(config: ModelConfig) -> dict[str, Tensor]:
    return {f"vae.{key}": value for key, value in build_vae(config.vae).state_dict().items()}
