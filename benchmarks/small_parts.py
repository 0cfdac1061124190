"""Text encoder and VAE of CogVideoX-2B's make but little width, random weights: for tests and
benchmarks without downloads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from layerflow_core.model.text import build_t5
from layerflow_core.model.vae import build_vae
from layerflow_core.weights.gguf_file import t5_names
from layerflow_core.weights.tensor_file import write_tensors

T5_VOCABULARY = 32128


def build_small_t5(width: int) -> nn.Module:
    torch.manual_seed(0)
    return build_t5(
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


def build_small_vae(widths: tuple[int, ...] = (32, 32, 32, 32), layers: int = 1) -> nn.Module:
    """8x in space as the true one."""
    torch.manual_seed(0)
    levels = len(widths)
    return build_vae(
        {
            "block_out_channels": widths,
            "layers_per_block": layers,
            "latent_channels": 16,
            "down_block_types": ("CogVideoXDownBlock3D",) * levels,
            "up_block_types": ("CogVideoXUpBlock3D",) * levels,
        }
    )


def write_t5(path: Path, width: int) -> Path:
    """A single file in Hugging Face's keys, as ComfyUI has them."""
    tensors = build_small_t5(width).state_dict()
    write_tensors(path, {k: v for k, v in tensors.items() if "embed_tokens" not in k}, {})
    return path


def write_vae(path: Path, widths: tuple[int, ...] = (32, 32, 32, 32), layers: int = 1) -> Path:
    """A single file in diffusers' keys."""
    write_tensors(path, build_small_vae(widths, layers).state_dict(), {})
    return path


def released_parts(width: int) -> dict[str, Tensor]:
    """The same two parts as an official training saves them beside its network, float32."""
    return beside_network(build_small_t5(width).state_dict(), build_small_vae().state_dict())


def beside_network(text: Mapping[str, Tensor], vae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """T5 and VAE by the keys that an official training gives them."""
    return {
        **{f"conditioner.embedders.0.transformer.{key}": value for key, value in text.items()},
        **{f"first_stage_model.{key}": value for key, value in original_keys(vae).items()},
    }


def original_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's tensors by the original release's names."""
    last = max(int(number) for key in tensors for number in re.findall(r"up_blocks\.(\d+)", key))
    renamed = {}
    for key, value in tensors.items():
        name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{last - int(m[1])}", key)
        name = name.replace("down_blocks.", "down.")
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace(".resnets.", ".block.").replace("conv_shortcut", "nin_shortcut")
        name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
        renamed[name] = value
    return renamed


def write_t5_gguf(path: Path, tensors: Mapping[str, Tensor], kind: str = "F32") -> Path:
    """T5's encoder by the library's own writer, its matrices in bits of this kind, the rest in float32."""
    import gguf
    import gguf.quants

    writer = gguf.GGUFWriter(path, "t5encoder")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    for ours, theirs in t5_names(_llama_cpp_names(tensors)).items():
        value = tensors[ours].numpy()
        stored = gguf.GGMLQuantizationType[
            kind if value.ndim == 2 and value.shape[1] % 32 == 0 else "F32"
        ]
        writer.add_tensor(theirs, gguf.quants.quantize(value, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _llama_cpp_names(tensors: Mapping[str, Tensor]) -> list[str]:
    parts = ("attn_q", "attn_k", "attn_v", "attn_o", "attn_norm")
    parts += ("ffn_gate", "ffn_up", "ffn_down", "ffn_norm")
    blocks = range(len([key for key in tensors if key.endswith("SelfAttention.q.weight")]))
    names = [f"enc.blk.{i}.{part}.weight" for i in blocks for part in parts]
    return ["token_embd.weight", "enc.output_norm.weight", "enc.blk.0.attn_rel_b.weight", *names]
