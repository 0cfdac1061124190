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
from ..weights.checkpoint import CONFIG_KEY, Checkpoint, digest, read_checkpoint
from ..weights.components import Part, released_parts
from ..weights.tensor_file import (
    SafetensorsFile,
    TensorSource,
    View,
)
from ..weights.weight_file import open_weights
from .keys import is_official, lora_matrices, network_keys, official_chunks
from .packing import BESIDE_FP8, Packing, pack_parts, parts_beside, share_parts, write_announced
from .variants import TOKENS_PER_TEXT, choose_variant, read_config

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": FP8}
_DEEPSPEED_FILE = "mp_rank_00_model_states.pt"
_log = logging.getLogger(__name__)
_LARGEST_NOTE = 1000  # bytes of ``latest``


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
    parts = parts_beside(opened, path, how.packing)
    if how.packing.shared is not None:
        share_parts(parts, how.packing, how.dtype)
        parts = {}
    config = _with_parts(replace(config, network=network), parts)
    beside = pack_parts(parts, (path, target), how.packing, how.dtype)
    write_announced(target, [*finished, *beside], {CONFIG_KEY: config.to_json()})
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
        return value.to(BESIDE_FP8)
    return to_fp8(value)
