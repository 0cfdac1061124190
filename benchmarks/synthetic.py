"""Checkpoints of random weights in the official layout, for measuring and for tests: nobody's weights are needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.small_parts import released_parts
from layerflow_core.check.true_size import official_config
from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.layout import ALPHA
from layerflow_core.model.loading import network_tensors
from layerflow_core.model.lora import CONTENT, MOTION, add_adapter
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.official.keys import POSITIONS, PREFIX, to_official

_STD = 0.02


def network_specs(config: ModelConfig) -> dict[str, Tensor]:
    """Tensors on the meta device by our keys, both LoRA included."""
    ranks = {CONTENT: config.network.content_rank, MOTION: config.network.motion_rank}
    with torch.device("meta"):
        network = LayerFlowNetwork(config)
        for name, rank in ranks.items():
            if rank:
                add_adapter(network.backbone, name, rank)
    return network_tensors(network)


def random_tensors(config: ModelConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """By our keys, as ``build_network`` takes them."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: (torch.randn(spec.shape, generator=generator, dtype=torch.float32) * _STD).to(dtype)
        for key, spec in network_specs(config).items()
    }


def write_official(
    path: Path,
    variant: str = "gen_rgba",
    width: int = 1920,
    blocks: int = 30,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """A ``.pt`` file as the official training writes it."""
    config = official_config(
        variant, width, blocks, (60, 90) if width == NetworkConfig().hidden_size else (12, 18)
    )
    tensors = to_official(random_tensors(config, dtype), config)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"module": tensors, "iteration": 1000}, path)
    return path


def write_released(path: Path, variant: str = "gen_rgba", text_width: int = 32) -> Path:
    """A small ``.pt`` file in float32 with all three parts, as the released ones very probably are."""
    config = official_config(variant, 128, 2, (12, 18))
    network = replace(config.network, text_embed_dim=text_width)
    config = replace(config, network=network)
    tensors = to_official(random_tensors(config, torch.float32), config)
    if not config.layout.of_kind(ALPHA):  # official RGB tables have a frame more than is used
        table = tensors[PREFIX + POSITIONS]
        more = torch.zeros(1, network.tokens_per_frame, table.shape[2])
        tensors[PREFIX + POSITIONS] = torch.cat([table, more], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"module": tensors | released_parts(text_width), "iteration": 1000}, path)
    return path
