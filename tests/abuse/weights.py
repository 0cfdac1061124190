"""Weight files of tiny networks, one kind a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.small_parts import write_t5_gguf
from layerflow_core.config import ModelConfig, NetworkConfig
from layerflow_core.layout import find_layout
from layerflow_core.model.loading import build_network, network_tensors
from layerflow_core.model.lora import adapter_tensors
from layerflow_core.model.lora_file import write_lora
from layerflow_core.model.network import LayerFlowNetwork
from layerflow_core.model.text import build_t5
from layerflow_core.model.vae import build_vae
from layerflow_core.official.verification import GOLDEN
from layerflow_core.runtime.latent_store import LatentStore
from layerflow_core.toy.captions import tokenizer_json
from layerflow_core.weights.checkpoint import (
    TOKENIZER_KEY,
    Checkpoint,
    encode_bytes,
    write_checkpoint,
)

NETWORK = NetworkConfig(2, 16, 1, 16, 8, 4, 4, 6, 2, tokens_per_text=5, content_rank=2)
T5 = {
    "vocab_size": len(json.loads(tokenizer_json())["model"]["vocab"]),
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 8,
    "num_layers": 1,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "feed_forward_proj": "gated-gelu",
}
VAE = {
    "block_out_channels": (8, 8),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 1.15258426,
    "down_block_types": ("CogVideoXDownBlock3D",) * 2,
    "up_block_types": ("CogVideoXUpBlock3D",) * 2,
    "temporal_compression_ratio": 1,
}
_PATHS = ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.0.proj")


def build_tiny(rank: int = NETWORK.content_rank) -> LayerFlowNetwork:
    """A network of random weights, with a content LoRA where the rank is not 0."""
    config = ModelConfig(find_layout("unified_rgba"), replace(NETWORK, content_rank=rank))
    plain = replace(config, network=replace(NETWORK, content_rank=0))
    tensors = network_tensors(LayerFlowNetwork(plain))
    tensors = {key: torch.randn_like(value) for key, value in tensors.items()}
    width = NETWORK.hidden_size
    for part in ("to_q", "to_k", "to_v", "to_out.0") if rank else ():
        path = f"content.transformer_blocks.0.attn1.{part}"
        tensors[f"{path}.down"] = torch.randn(rank, width)
        tensors[f"{path}.up"] = torch.randn(width, rank)
    return build_network(config, tensors)


def _write_checkpoint(folder: Path) -> None:
    network = build_tiny()
    vae = build_vae(VAE)
    config = replace(network.config, text_encoder=T5, vae=VAE, fps=8.0, sampler={"steps": 10})
    tensors = {f"network.{key}": value for key, value in _network_part(network).items()}
    tensors |= {f"lora.{key}": value for key, value in adapter_tensors(network.backbone).items()}
    tensors |= {f"text_encoder.{key}": value for key, value in _t5_tensors().items()}
    tensors |= {f"vae.{key}": value for key, value in vae.state_dict().items()}
    tensors[TOKENIZER_KEY] = encode_bytes(tokenizer_json().encode())
    write_checkpoint(Checkpoint(config, tensors), folder / "own.safetensors")


def _write_bare_checkpoint(folder: Path) -> None:
    network = build_tiny()
    tensors = {f"network.{key}": value for key, value in _network_part(network).items()}
    tensors |= {f"lora.{key}": value for key, value in adapter_tensors(network.backbone).items()}
    write_checkpoint(Checkpoint(network.config, tensors), folder / "bare.safetensors")


def _network_part(network: LayerFlowNetwork) -> dict[str, torch.Tensor]:
    tensors = network_tensors(network)
    return {key: value for key, value in tensors.items() if not key.startswith("content.")}


def _t5_tensors() -> dict[str, torch.Tensor]:
    state = build_t5(T5).state_dict()
    return {key: value.clone() for key, value in state.items() if "embed_tokens" not in key}


def _official_tensors() -> dict[str, torch.Tensor]:
    """The recorded one, with all that reading does not need made small."""
    return {
        key: value.bfloat16()
        for key, value in load_file(GOLDEN / "gen_rgba.ckpt.safetensors").items()
    }


def _write_official_safetensors(folder: Path) -> None:
    save_file(_official_tensors(), folder / "gen_rgba.safetensors")


def _write_official_pickle(folder: Path) -> None:
    torch.save({"module": _official_tensors(), "iteration": 1000}, folder / "gen_rgba.pt")


def _write_official_folder(folder: Path) -> None:
    for step in ("999", "1000"):
        path = folder / "gen_rgba" / step / "mp_rank_00_model_states.pt"
        path.parent.mkdir(parents=True)
        torch.save({"module": _official_tensors()}, path)
    (folder / "gen_rgba" / "latest").write_text("1000")


def _write_t5_folder(folder: Path) -> None:
    build_t5(T5).save_pretrained(folder)


def _write_t5_file(folder: Path) -> None:
    save_file(_t5_tensors(), folder / "t5.safetensors")


def _write_t5_gguf(folder: Path) -> None:
    write_t5_gguf(folder / "t5.gguf", _t5_tensors(), "Q8_0")


def _write_scaled_t5(folder: Path) -> None:
    tensors = _t5_tensors()
    mark = encode_bytes(json.dumps({"format": "float8_e4m3fn", "full_precision": False}).encode())
    for key in [key for key in tensors if key.endswith(("q.weight", "wo.weight"))]:
        stem = key.removesuffix("weight")
        tensors[key] = tensors[key].to(torch.float8_e4m3fn)
        tensors[f"{stem}weight_scale"] = torch.ones(())
        tensors[f"{stem}comfy_quant"] = mark.clone()
    save_file(tensors, folder / "t5.safetensors")


def _write_vae_folder(folder: Path) -> None:
    build_vae(VAE).save_pretrained(folder)


def _write_vae_pickle(folder: Path) -> None:
    torch.save({"state_dict": build_vae(VAE).state_dict()}, folder / "vae.pt")


def _write_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(tokenizer_json())


def _write_own_lora(folder: Path) -> None:
    write_lora(folder / "content.safetensors", build_tiny(), "content")


def _write_plain_lora(folder: Path) -> None:
    backbone = build_tiny(0).backbone
    tensors = {}
    for path in _PATHS:
        rows, columns = backbone.get_submodule(path).weight.shape
        tensors[f"transformer.{path}.lora_A.weight"] = torch.randn(2, columns)
        tensors[f"transformer.{path}.lora_B.weight"] = torch.randn(rows, 2)
        tensors[f"transformer.{path}.alpha"] = torch.tensor(1.0)
    facts = {"transformer.lora_alpha": 6.0, "transformer.alpha_pattern": {_PATHS[0]: 2.0}}
    metadata = {"lora_adapter_metadata": json.dumps(facts)}
    save_file(tensors, folder / "plain.safetensors", metadata)


def _write_latents(folder: Path) -> None:
    LatentStore(folder).keep("run", torch.randn(1, 2, 4, 4, 6))


# name: (write into an empty folder, entry, pattern of the files that are damaged)
WEIGHTS: Mapping[str, tuple[Callable[[Path], None], str, str]] = {
    "checkpoint": (_write_checkpoint, "own.safetensors", "*"),
    "bare checkpoint": (_write_bare_checkpoint, "bare.safetensors", "*"),
    "official safetensors": (_write_official_safetensors, "gen_rgba.safetensors", "*"),
    "official pickle": (_write_official_pickle, "gen_rgba.pt", "*"),
    "official folder": (_write_official_folder, "gen_rgba", "latest"),
    "text encoder folder": (_write_t5_folder, "", "config.json"),
    "text encoder file": (_write_t5_file, "t5.safetensors", "*"),
    "text encoder gguf": (_write_t5_gguf, "t5.gguf", "*"),
    "scaled fp8": (_write_scaled_t5, "t5.safetensors", "*"),
    "VAE folder": (_write_vae_folder, "", "config.json"),
    "VAE pickle": (_write_vae_pickle, "vae.pt", "*"),
    "tokenizer": (_write_tokenizer, "tokenizer.json", "*"),
    "own LoRA": (_write_own_lora, "content.safetensors", "*"),
    "third-party LoRA": (_write_plain_lora, "plain.safetensors", "*"),
    "latents": (_write_latents, "run.safetensors", "*"),
}
