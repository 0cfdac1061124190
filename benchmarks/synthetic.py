"""Checkpoints of random weights in the official layout, for measuring and for tests: nobody's weights are needed."""

from __future__ import annotations

from pathlib import Path

import torch

from layerflow_core.check.true_size import official_config
from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.model.loading import network_tensors
from layerflow_core.model.lora import CONTENT, MOTION, add_adapter
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.official.keys import to_official

_STD = 0.02


def random_tensors(config: ModelConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """By our keys, as ``build_network`` takes them."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = LayerFlowNetwork(config)
        for name, rank in (
            (CONTENT, config.network.content_rank),
            (MOTION, config.network.motion_rank),
        ):
            if rank:
                add_adapter(network.backbone, name, rank)
    shapes = {key: spec.shape for key, spec in network_tensors(network).items()}
    return {
        key: (torch.randn(shape, generator=generator, dtype=torch.float32) * _STD).to(dtype)
        for key, shape in shapes.items()
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
