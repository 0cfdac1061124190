"""Text encoder and VAE of CogVideoX-2B's make but little width, random weights: for tests and
benchmarks without downloads.
"""

from __future__ import annotations

from pathlib import Path

import torch

from layerflow_core.model.text import build_t5
from layerflow_core.model.vae import build_vae
from layerflow_core.weights.tensor_file import write_tensors

T5_VOCABULARY = 32128


def write_t5(path: Path, width: int) -> Path:
    """A single file in Hugging Face's keys, as ComfyUI has them."""
    torch.manual_seed(0)
    t5 = build_t5(
        {
            "vocab_size": T5_VOCABULARY,
            "d_model": width,
            "d_kv": 8,
            "d_ff": 32,
            "num_layers": 2,
            "num_heads": 2,
            "feed_forward_proj": "gated-gelu",
        }
    )
    write_tensors(
        path,
        {key: value for key, value in t5.state_dict().items() if "embed_tokens" not in key},
        {},
    )
    return path


def write_vae(path: Path, widths: tuple[int, ...] = (32, 32, 32, 32), layers: int = 1) -> Path:
    """A single file in diffusers' keys; 8x in space as the true one."""
    torch.manual_seed(0)
    levels = len(widths)
    config = {
        "block_out_channels": widths,
        "layers_per_block": layers,
        "latent_channels": 16,
        "down_block_types": ("CogVideoXDownBlock3D",) * levels,
        "up_block_types": ("CogVideoXUpBlock3D",) * levels,
    }
    write_tensors(path, build_vae(config).state_dict(), {})
    return path
