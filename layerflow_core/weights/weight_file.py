"""Any file of weights, opened as what it is, whatever its name ends in."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Len
from torch import Tensor

from ..errors import CheckpointError
from ..plain_data import Name, read_record
from .file_kind import SAFETENSORS, TORCH, find_kind, wrong_kind
from .pickle_file import PickleFile
from .tensor_file import SafetensorsFile, TensorSource

_INDEX = "*.safetensors.index.json"
_WHOLE = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_SHARD = re.compile(r"[\w.-]+\.safetensors")
_MOST_SHARDS = 1000


@dataclass(frozen=True)
class ShardIndex:
    """What stands beside weights in several files: key -> file."""

    weight_map: Annotated[dict[Name, Name], Len(1, 1_000_000)]


class Shards:
    """Several files as one ``TensorSource``."""

    def __init__(self, files: Iterable[TensorSource]) -> None:
        self._files = list(files)
        self.specs = {key: spec for file in self._files for key, spec in file.specs.items()}

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        parts = (file.read([key for key in keys if key in file.specs]) for file in self._files)
        return {key: value for part in parts for key, value in part.items()}


def open_weights(path: Path) -> TensorSource:
    """A file of tensors, or a folder of them as diffusers and transformers write it; nothing in it is executed.

    Raises:
        CheckpointError: none, damaged, or another kind of file; the message says what it is.
    """
    if os.path.isdir(path):
        return _open_folder(path)
    kind = find_kind(path)
    if kind == SAFETENSORS:
        return SafetensorsFile(path)
    if kind == TORCH:
        return PickleFile(path)
    raise wrong_kind(path, kind, SAFETENSORS, TORCH)


def _open_folder(folder: Path) -> TensorSource:
    indices = sorted(folder.glob(_INDEX), key=lambda index: (len(index.name), index.name))
    if indices:
        return Shards(SafetensorsFile(file) for file in _shards_of(indices[0]))
    whole = [folder / name for name in _WHOLE if os.path.isfile(folder / name)]
    files = whole or sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{folder} holds no .safetensors file: expected a part of a diffusers CogVideoX-2b folder, or a single file"
        )
    return Shards(SafetensorsFile(file) for file in files[:_MOST_SHARDS])


def _shards_of(index: Path) -> list[Path]:
    names = sorted(set(read_record(ShardIndex, index, CheckpointError).weight_map.values()))
    wrong = [name for name in names if not _SHARD.fullmatch(name)]
    if wrong or len(names) > _MOST_SHARDS:
        raise CheckpointError(
            f"{index} names {ascii(wrong[:1] or len(names))}, expected .safetensors files beside it"
        )
    missing = [name for name in names if not os.path.isfile(index.parent / name)]
    if missing:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of the {len(names)} files of its index ({missing[0]}): "
            "the download is incomplete, start it again"
        )
    return [index.parent / name for name in names]
