"""What stands beside the network of a new file: the text encoder and VAE that an official file holds, or others."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..model.fp8 import FP8, to_fp8
from ..weights.checkpoint import TOKENIZER_KEY, encode_bytes
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
from ..weights.tensor_file import Chunk, MemorySource, TensorSource, planned_size, write_chunks

BESIDE_FP8 = torch.bfloat16
"""What stands in a file whose matrices are in fp8, beside them."""
# Folder and beginning of the name, by which ``component_choice`` knows what it is.
_SHARED = {TEXT_PART: ("text_encoders", "t5xxl"), VAE_PART: ("vae", "cogvideox_2b_vae")}
_MARKED = 1_000_000  # elements of the largest tensor that is looked at for a mark
_SAMPLES = 16
_LETTERS = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packing:
    """Which parts a new file gets beside its network.

    Args:
        base: parts from elsewhere, which go before the file's own.
        own: take along the text encoder and VAE that the file holds.
        shared: a models folder as ComfyUI has it, where these two are written as files of their own, once for all
            checkpoints that have the same; ``LoadLayerFlow`` finds them there. None: into the new file.
        text_dtype: of the text encoder; in fp8 are the matrices inside its blocks, the rest is bf16. None: as the VAE,
            which has the network's, or bf16 beside fp8.
    """

    base: Components = Components()
    own: bool = True
    shared: Path | None = None
    text_dtype: torch.dtype | None = None


def parts_beside(opened: TensorSource, path: Path, packing: Packing) -> dict[str, Part]:
    """Those that go along, by ``TEXT_PART`` and ``VAE_PART``."""
    parts = released_parts(opened, path) if packing.own else {}
    if packing.base.text_encoder:
        parts[TEXT_PART] = read_text_encoder(packing.base.text_encoder)
    if packing.base.vae:
        parts[VAE_PART] = read_vae(packing.base.vae)
    return parts


def share_parts(parts: Mapping[str, Part], packing: Packing, network_dtype: torch.dtype) -> None:
    """Write each part to where ComfyUI keeps its kind, unless it lies there."""
    for name, part in parts.items():
        folder, stem = _SHARED[name]
        dtype = _dtype_of(name, packing, network_dtype)
        mark = _mark_of(part, dtype)
        path = packing.shared / folder / f"{stem}_{mark}.safetensors"
        if path.is_file():
            _log.info("%s lies there already: %s", name.replace("_", " "), path.name)
            continue
        chunks = [
            Chunk(part.tensors, [key], partial(_cast_all, dtype=dtype))
            for key in part.tensors.specs
        ]
        write_announced(path, chunks, {})


def write_announced(path: Path, chunks: Sequence[Chunk], metadata: Mapping[str, str]) -> None:
    """``write_chunks``, whose size is told before the minutes that it takes."""
    _log.info("%s: %.1f GB will be written", path.name, planned_size(chunks) / 1e9)
    write_chunks(path, chunks, metadata)


def _mark_of(part: Part, dtype: torch.dtype) -> str:
    """Letters that tell parts apart by all shapes and some values; digits could look like another model's name."""
    specs = sorted((key, tuple(spec.shape)) for key, spec in part.tensors.specs.items())
    found = hashlib.sha256(f"{specs} {dtype}".encode())
    small = [key for key, shape in specs if math.prod(shape) <= _MARKED]
    for value in part.tensors.read(small[:: max(1, len(small) // _SAMPLES)]).values():
        found.update(value.float().numpy().tobytes())
    return "".join(chr(ord("a") + byte % 26) for byte in found.digest()[:_LETTERS])


def _dtype_of(name: str, packing: Packing, network_dtype: torch.dtype) -> torch.dtype:
    beside = BESIDE_FP8 if network_dtype == FP8 else network_dtype
    return (packing.text_dtype or beside) if name == TEXT_PART else beside


def _tokenizer_for(
    parts: Mapping[str, Part], near: Sequence[Path], packing: Packing
) -> Path | None:
    """For a text encoder that is packed; where none is found, ComfyUI has its own."""
    if TEXT_PART not in parts:
        return None
    place = packing.base.tokenizer or find_tokenizer(*near, Path(__file__))
    if place is None and packing.base.text_encoder is None:
        _log.warning(
            "no tokenizer is packed: ComfyUI brings its own; for the command line name "
            "one with --tokenizer"
        )
        return None
    return place


def pack_parts(
    parts: Mapping[str, Part],
    near: Sequence[Path],
    packing: Packing,
    network_dtype: torch.dtype,
) -> list[Chunk]:
    """Chunks of a new file.

    Args:
        near: files near which a tokenizer may lie, where none is named.
    """
    tokenizer = _tokenizer_for(parts, near, packing)
    chunks = [
        Chunk(
            part.tensors,
            [key],
            partial(_repack, name, dtype=_dtype_of(name, packing, network_dtype)),
        )
        for name, part in parts.items()
        for key in part.tensors.specs
    ]
    if TEXT_PART in parts and (tokenizer or packing.base.text_encoder):
        data = {TOKENIZER_KEY: encode_bytes(read_tokenizer(tokenizer))}
        chunks.append(Chunk(MemorySource(data), list(data)))
    return chunks


def _repack(part: str, tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {f"{part}.{key}": value for key, value in _cast_all(tensors, dtype).items()}


def _cast_all(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: _cast_part(key, value, dtype) for key, value in tensors.items()}


def _cast_part(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype != FP8:
        return value.to(dtype)
    is_matrix = value.ndim == 2 and ".layer." in key and "relative_attention_bias" not in key
    return to_fp8(value) if is_matrix else value.to(BESIDE_FP8)
