"""Our single-file checkpoint: safetensors with the config in its metadata. Nothing is ever unpickled here.

Keys: ``network.*`` (diffusers names), ``lora.{content|motion}.*``, ``text_encoder.*``, ``vae.*`` and the bytes of
``tokenizer.json``. A file without text encoder or VAE still loads its network.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import CheckpointError

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
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start) and k != TOKENIZER_KEY}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of any safetensors file.

    Raises:
        CheckpointError: the file is missing, truncated or no safetensors.
    """
    with _naming(path):
        file = open_tensors(path)
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}


def open_tensors(path: Path):
    """Any safetensors file, memory-mapped: ``safetensors.safe_open``; raises as ``read_tensors`` does."""
    from safetensors import safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is not there; check the name, or put the file where it is expected")
    with _naming(path):
        return safe_open(str(path), framework="pt")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns what safetensors says of a damaged file into an error that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors ({error}): the file is damaged or its copy is not complete; get it again") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises CheckpointError if this is no file of our format; official files are named as such."""
    tensors, metadata = read_tensors(path)
    if CONFIG_KEY not in metadata:
        raise CheckpointError(f"{path} has no LayerFlow config: not a file of this pack; run `layerflow convert` on an official checkpoint first")
    return Checkpoint(ModelConfig.from_json(metadata[CONFIG_KEY]), tensors)


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically: the file is whole or not there."""
    write_tensors(path, checkpoint.tensors, {CONFIG_KEY: checkpoint.config.to_json()})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Any safetensors file, atomically: the inverse of ``read_tensors``."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        save_file({key: value.detach().contiguous().cpu() for key, value in tensors.items()}, str(partial), metadata)
        partial.chmod(0o644)  # safetensors writes files that only their owner can read
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load weights, refusing any key that is missing, unexpected or of another shape.

    Raises:
        CheckpointError: naming the keys.
    """
    expected = {key: value.shape for key, value in module.state_dict().items()}
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    wrong = [f"{k} is {list(tensors[k].shape)}, expected {list(s)}" for k, s in expected.items() if k in tensors and tensors[k].shape != s]
    problems = [
        f"{label} {len(keys)} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for label, keys in (("missing:", missing), ("unexpected:", unexpected), ("wrong shape:", wrong))
        if keys
    ]
    if problems:
        raise CheckpointError(f"the {what}'s weights do not fit its config; {'; '.join(problems)}")
    module.load_state_dict(dict(tensors))


def encode_bytes(data: bytes) -> Tensor:
    """[len] uint8, so that a text file can stand among tensors."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
