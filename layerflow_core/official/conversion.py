"""Official checkpoints to our single file, a block in memory at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CheckpointError
from ..model.fp8 import FP8, to_fp8
from ..model.loading import build_network
from ..model.lora import ADAPTERS, CONTENT, MOTION
from ..plain_data import read_text
from ..weights.checkpoint import (
    CONFIG_KEY,
    TOKENIZER_KEY,
    Checkpoint,
    digest,
    encode_bytes,
    read_checkpoint,
)
from ..weights.components import (
    TEXT_PART,
    VAE_PART,
    Components,
    Part,
    find_tokenizer,
    read_text_encoder,
    read_tokenizer,
    read_vae,
    released_parts,
)
from ..weights.tensor_file import (
    Chunk,
    MemorySource,
    SafetensorsFile,
    TensorSource,
    View,
    planned_size,
    write_chunks,
)
from ..weights.weight_file import open_weights
from .keys import is_official, lora_matrices, network_keys, official_chunks
from .variants import TOKENS_PER_TEXT, choose_variant, read_config

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": FP8}
_BESIDE_FP8 = torch.bfloat16
_DEEPSPEED_FILE = "mp_rank_00_model_states.pt"
_log = logging.getLogger(__name__)
_LARGEST_NOTE = 1000  # bytes of ``latest``


@dataclass(frozen=True)
class Packing:
    """Which parts a new file gets beside its network.

    Args:
        base: parts from elsewhere, which go before the file's own.
        own: take along the text encoder and VAE that the file holds.
        text_dtype: of the text encoder; in fp8 are the matrices inside its blocks, the rest is bf16. None: as the VAE,
            which has the network's, or bf16 beside fp8.
    """

    base: Components = Components()
    own: bool = True
    text_dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Conversion:
    """How an official checkpoint becomes one of ours.

    Args:
        variant: one of the eight rows; None where shapes and names leave no doubt.
        dtype: a key of ``DTYPES``; in fp8 (e4m3) are the matrices inside the blocks, the rest is bf16.
        merge: add the content LoRA to the weights instead of keeping it apart.
        motion: keep the motion LoRA.
        latent_size: latent height and width where they are not of 480 x 720's aspect ratio.
        packing: what stands beside the network.
    """

    variant: str | None = None
    dtype: torch.dtype = torch.bfloat16
    merge: bool = False
    motion: bool = True
    latent_size: tuple[int, int] | None = None
    tokens_per_text: int = TOKENS_PER_TEXT
    packing: Packing = Packing()


def convert_official(source: Path, target: Path, how: Conversion = Conversion()) -> str:
    """Write an official checkpoint in our format, atomically; LoRA parts that change nothing are left out.

    Args:
        source: the released folder, its ``.pt`` file, or the same tensors as ``.safetensors``.

    Returns:
        sha256 of the new file.

    Raises:
        CheckpointError: unreadable, incomplete, the variant cannot be told, or the disk has too little room; no file
            is left behind.
    """
    path = released_file(source)
    opened = open_weights(path)
    file = official_network(opened, path)
    config = read_config(
        file.specs,
        how.variant or choose_variant(file.specs, source, how.tokens_per_text),
        how.latent_size,
        how.tokens_per_text,
    )
    chunks = official_chunks(file, config)
    build_network(
        config, {key: spec for chunk in chunks for key, spec in chunk.specs().items()}
    )  # refuses wrong shapes by name
    finish = partial(_finish, config=config, how=how, idle=_idle_adapters(file, config))
    finished = [
        replace(chunk, make=lambda tensors, make=chunk.make: finish(make(tensors)))
        for chunk in chunks
    ]
    kept = {
        key.split(".")[1] for chunk in finished for key in chunk.specs() if key.startswith("lora.")
    }
    network = replace(
        config.network,
        content_rank=config.network.content_rank * (CONTENT in kept),
        motion_rank=config.network.motion_rank * (MOTION in kept),
    )
    parts = _parts_beside(opened, path, how.packing)
    config = _with_parts(replace(config, network=network), parts)
    beside = _pack(parts, _find_tokenizer(parts, path, target, how.packing), how)
    chunks = [*finished, *beside]
    _log.info("%s: %.1f GB will be written", target.name, planned_size(chunks) / 1e9)
    write_chunks(target, chunks, {CONFIG_KEY: config.to_json()})
    return digest(target)


def read_any(path: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    """A checkpoint of our format, or an official one as it was released, with the text encoder and VAE that it holds.

    Tensors are mapped, not read, but for those of an official network that must be put together.

    Args:
        dtype: of an official network; so what is put together is never there at full width. None: as in the file.

    Raises:
        CheckpointError: neither, damaged, or its shapes and name do not tell which of the eight it is.
    """
    file = released_file(path)
    opened = open_weights(file)
    if isinstance(opened, SafetensorsFile) and CONFIG_KEY in opened.metadata:
        return read_checkpoint(file)
    network = official_network(opened, file)
    config = read_config(network.specs, choose_variant(network.specs, path))
    tensors: dict[str, Tensor] = {}
    for chunk in official_chunks(network, config):
        tensors |= {key: value.to(dtype or value.dtype) for key, value in chunk.tensors().items()}
    tensors = _file_keys(tensors)
    parts = released_parts(opened, file)
    for name, part in parts.items():
        found = part.tensors.read(part.tensors.specs)
        tensors |= {f"{name}.{key}": value for key, value in found.items()}
    return Checkpoint(_with_parts(config, parts), tensors)


def _with_parts(config: ModelConfig, parts: Mapping[str, Part]) -> ModelConfig:
    return replace(config, **{name: part.config for name, part in parts.items()})


def released_file(source: Path) -> Path:
    """The file itself, or the newest one of a released folder; raises CheckpointError if that holds none."""
    if not os.path.isdir(source):
        return source
    found = sorted(source.rglob(_DEEPSPEED_FILE))
    named = source / "latest"
    newest = [path for path in found if path.parent.name == _iteration(named)]
    if not found:
        raise CheckpointError(
            f"{source} holds no {_DEEPSPEED_FILE}: expected the folder of a released checkpoint"
        )
    return (newest or found)[-1]


def open_official(source: Path) -> TensorSource:
    """The network of an official file or folder, prefix stripped, never executing anything in it.

    Raises:
        CheckpointError: nothing there, a pickle that holds more than tensors and plain data, or another kind of file.
    """
    file = released_file(source)
    return official_network(open_weights(file), file)


def official_network(file: TensorSource, source: Path) -> TensorSource:
    """The network within the tensors of an official file, prefix stripped; raises CheckpointError if there is none."""
    if is_official(file.specs):
        return View(file, network_keys(file.specs))
    if any(key.startswith("transformer_blocks.0.attn1.") for key in file.specs):
        raise CheckpointError(
            f"{source} is a plain video transformer in diffusers' keys, not trained for layers, "
            "expected a checkpoint of "
            "LayerFlow: get one with the node LayerFlow Download"
        )
    raise CheckpointError(
        f"{source} has no LayerFlow tensors (met {sorted(file.specs)[:3]}): not an official checkpoint"
    )


def _iteration(named: Path) -> str | None:
    """What the file ``latest`` says, None if there is none."""
    if not os.path.isfile(named):
        return None
    return read_text(named, CheckpointError, largest=_LARGEST_NOTE).strip()


def _idle_adapters(file: TensorSource, config: ModelConfig) -> set[str]:
    """``{adapter}.{projection path}`` of LoRA whose second matrix is zero: training never touched them.

    Nothing else is read for that, so converting reads every other tensor once.
    """
    idle = set()
    for ours, theirs in lora_matrices(config):
        path, _, role = ours.rpartition(".")
        if role == "up" and theirs in file.specs and not file.read([theirs])[theirs].any():
            idle.add(path)
    return idle


def _finish(
    tensors: Mapping[str, Tensor], config: ModelConfig, how: Conversion, idle: set[str]
) -> dict[str, Tensor]:
    """One chunk in our network's keys to what stands in the file."""
    unwanted = set() if how.motion else {MOTION}
    kept = {
        k: v
        for k, v in tensors.items()
        if k.rpartition(".")[0] not in idle and k.split(".")[0] not in unwanted
    }
    if how.merge:
        kept = _merge_content(kept, 1 / max(config.network.content_rank, 1))
    return _file_keys({k: cast(k, v, how.dtype) for k, v in kept.items()})


def _file_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"lora.{k}" if _is_adapter(k) else f"network.{k}": v for k, v in tensors.items()}


def _is_adapter(key: str) -> bool:
    return key.split(".")[0] in ADAPTERS


def _merge_content(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    merged = {k: v for k, v in tensors.items() if not k.startswith(f"{CONTENT}.")}
    for key in tensors.keys() - merged.keys():
        path, _, role = key.removeprefix(f"{CONTENT}.").rpartition(".")
        if role == "up":
            weight = f"backbone.{path}.weight"
            merged[weight] = (
                merged[weight].float()
                + scale * tensors[key].float() @ tensors[f"{CONTENT}.{path}.down"].float()
            )
    return merged


def cast(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in the dtype that a file is to have; fp8 is for the blocks' matrices alone."""
    if dtype != FP8:
        return value.to(dtype)
    if _is_adapter(key) or "transformer_blocks" not in key or value.ndim != 2:
        return value.to(_BESIDE_FP8)
    return to_fp8(value)


def _parts_beside(opened: TensorSource, path: Path, packing: Packing) -> dict[str, Part]:
    """By ``TEXT_PART`` and ``VAE_PART``."""
    parts = released_parts(opened, path) if packing.own else {}
    if packing.base.text_encoder:
        parts[TEXT_PART] = read_text_encoder(packing.base.text_encoder)
    if packing.base.vae:
        parts[VAE_PART] = read_vae(packing.base.vae)
    return parts


def _find_tokenizer(
    parts: Mapping[str, Part], path: Path, target: Path, packing: Packing
) -> Path | None:
    """For a text encoder that is packed; where none is found, ComfyUI has its own."""
    if TEXT_PART not in parts:
        return None
    place = packing.base.tokenizer or find_tokenizer(path, target, Path(__file__))
    if place is None and packing.base.text_encoder is None:
        _log.warning(
            "no tokenizer is packed: ComfyUI brings its own; for the command line name "
            "one with --tokenizer"
        )
        return None
    return place


def _pack(parts: Mapping[str, Part], tokenizer: Path | None, how: Conversion) -> list[Chunk]:
    beside = _BESIDE_FP8 if how.dtype == FP8 else how.dtype
    dtypes = {TEXT_PART: how.packing.text_dtype or beside, VAE_PART: beside}
    chunks = [
        Chunk(part.tensors, [key], partial(_repack, name, dtype=dtypes[name]))
        for name, part in parts.items()
        for key in part.tensors.specs
    ]
    if TEXT_PART in parts and (tokenizer or how.packing.base.text_encoder):
        data = {TOKENIZER_KEY: encode_bytes(read_tokenizer(tokenizer))}
        chunks.append(Chunk(MemorySource(data), list(data)))
    return chunks


def _repack(part: str, tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {f"{part}.{key}": _cast_part(key, value, dtype) for key, value in tensors.items()}


def _cast_part(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype != FP8:
        return value.to(dtype)
    is_matrix = value.ndim == 2 and ".layer." in key and "relative_attention_bias" not in key
    return to_fp8(value) if is_matrix else value.to(_BESIDE_FP8)
