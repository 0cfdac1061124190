"""Our single-file checkpoint: safetensors with the config in its metadata. Nothing is ever unpickled here.

Keys: ``network.*`` (diffusers names), ``lora.{content|motion}.*``, ``text_encoder.*``, ``vae.*`` and the bytes of
``tokenizer.json``. A file without text encoder or VAE still loads its network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CheckpointError
from .tensor_file import read_tensors, write_tensors

CONFIG_KEY = "layerflow"
TOKENIZER_KEY = "tokenizer.json"
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds, not yet built: config and tensors by key."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below ``prefix.``, without it."""
        start = prefix + "."
        return {
            k[len(start) :]: v
            for k, v in self.tensors.items()
            if k.startswith(start) and k != TOKENIZER_KEY
        }


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises CheckpointError if this is no file of our format; official files are named as such."""
    tensors, metadata = read_tensors(path)
    if CONFIG_KEY not in metadata:
        raise CheckpointError(
            f"{path} has no LayerFlow config: not a file of this pack; run `layerflow convert` "
            "on an official checkpoint first"
        )
    return Checkpoint(ModelConfig.from_json(metadata[CONFIG_KEY]), tensors)


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: the file is whole or not there."""
    write_tensors(path, checkpoint.tensors, {CONFIG_KEY: checkpoint.config.to_json()})


def load_strictly(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    what: str,
    file_key: Callable[[str], str] = str,
) -> None:
    """Load weights, refusing any key that is missing, unexpected or of another shape.

    A module on the meta device takes the tensors themselves, another one copies them.

    Args:
        file_key: the module's key to the key among ``tensors``.

    Raises:
        CheckpointError: naming the keys.
    """
    own = {file_key(key): (key, value) for key, value in module.state_dict().items()}
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shared = {key: value for key, (_, value) in own.items() if key in tensors}
    wrong = [
        f"{k} is {list(tensors[k].shape)}, expected {list(v.shape)}"
        for k, v in shared.items()
        if tensors[k].shape != v.shape
    ]
    kinds = [
        f"{k} is {tensors[k].dtype}, expected {v.dtype}"
        for k, v in shared.items()
        if _is_other_kind(tensors[k], v)
    ]
    problems = [
        f"{label} {len(keys)} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for label, keys in (
            ("missing:", missing),
            ("unexpected:", unexpected),
            ("wrong shape:", wrong),
            ("wrong dtype:", kinds),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(f"the {what}'s weights do not fit its config; {'; '.join(problems)}")
    on_meta = any(value.is_meta for _, value in own.values())
    module.load_state_dict({key: tensors[ours] for ours, (key, _) in own.items()}, assign=on_meta)


def _is_other_kind(got: Tensor, expected: Tensor) -> bool:
    """Integers in place of weights."""
    return got.is_floating_point() != expected.is_floating_point()


def encode_bytes(data: bytes) -> Tensor:
    """[len] uint8, so that a text file can stand among tensors."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def decode_bytes(tensor: Tensor, name: str) -> bytes:
    """The inverse of ``encode_bytes``; raises CheckpointError if the tensor is none of its kind."""
    if tensor.dtype != torch.uint8 or tensor.ndim != 1:
        raise CheckpointError(
            f"got {name} of {tensor.dtype} and shape {list(tensor.shape)}, expected bytes: the file is damaged"
        )
    return tensor.numpy().tobytes()


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path) -> str:
    """Name, size and time of a file or folder: another one, another text. Cheaper than a hash of ten gigabytes."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
