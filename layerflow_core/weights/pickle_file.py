"""Weights in a file of ``torch.save`` (``.pt``), read without executing anything in it."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError
from .inert_pickle import StoredTensor, read_pickle
from .stretch import Stretch, read_stretch
from .tensor_file import is_countable
from .torch_archive import TorchArchive, read_archive

_CONTAINERS = ("module", "state_dict", "model")  # DeepSpeed's, Lightning's, ViCLIP's
_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_DTYPES = {
    str(dtype): dtype
    for dtype in (*_STORAGE_DTYPES.values(), torch.float8_e4m3fn, torch.float8_e5m2)
}


class PickleFile:
    """A DeepSpeed, Lightning or plain ``torch.save`` file, memory-mapped; a ``TensorSource``.

    Raises:
        CheckpointError: damaged, another kind of file, or it wants something to be executed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        archive = read_archive(path)
        self._places = {
            key: _Place(tensor, archive, f"{path}: {ascii(key)}")
            for key, tensor in _named_tensors(archive, path).items()
        }
        self._size = archive.size
        self.specs = {key: place.spec() for key, place in self._places.items()}
        if not self.specs:
            raise CheckpointError(f"{path} holds no tensors by name: not a checkpoint")

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        try:
            if self.path.stat().st_size != self._size:
                raise CheckpointError(f"{self.path} has changed since it was opened; load it again")
            with self.path.open("rb") as file:
                return {key: self._places[key].read(file) for key in keys}
        except (OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} cannot be mapped into memory: {_first_line(error)}"
            ) from error


def _named_tensors(archive: TorchArchive, path: Path) -> dict[str, StoredTensor]:
    data = read_pickle(archive.pickle, str(path))
    tensors = data if isinstance(data, dict) else {}
    for name in _CONTAINERS:
        if isinstance(tensors.get(name), dict):
            tensors = tensors[name]
            break
    return {key: value for key, value in tensors.items() if _is_named(key, value)}


def _is_named(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, StoredTensor)


class _Place:
    """Where a tensor is in the file, checked.

    Raises:
        CheckpointError: it reaches beyond its storage, repeats its elements, or its dtype is not known.
    """

    def __init__(self, tensor: StoredTensor, archive: TorchArchive, name: str) -> None:
        self._tensor = tensor
        self._dtype = _find_dtype(tensor, name)
        self._stretch = _find_stretch(tensor, archive, name)
        self._check(name)

    def _check(self, name: str) -> None:
        tensor = self._tensor
        capacity = self._stretch.length // self._dtype.itemsize
        if len(tensor.size) != len(tensor.stride):
            raise _misfit(name, f"{len(tensor.size)} sizes and {len(tensor.stride)} strides")
        if math.prod(tensor.size) > capacity or not is_countable(tensor.size):
            raise _misfit(name, f"a shape of {list(tensor.size)} over {capacity} stored elements")
        steps = ((size - 1) * stride for size, stride in zip(tensor.size, tensor.stride))
        last = tensor.offset + (sum(steps) if all(tensor.size) else -1)
        if last >= capacity:
            raise _misfit(name, f"elements up to number {last} of {capacity} stored ones")

    def spec(self) -> Tensor:
        return torch.empty(self._tensor.size, dtype=self._dtype, device="meta")

    def read(self, file: BinaryIO) -> Tensor:
        tensor = self._tensor
        if not math.prod(tensor.size):
            return torch.empty(tensor.size, dtype=self._dtype)
        steps = ((size - 1) * stride for size, stride in zip(tensor.size, tensor.stride))
        width = self._dtype.itemsize
        start = self._stretch.start + tensor.offset * width
        flat = read_stretch(file, Stretch(start, (1 + sum(steps)) * width), self._dtype)
        return flat.as_strided(tensor.size, tensor.stride)


def _find_dtype(tensor: StoredTensor, name: str) -> torch.dtype:
    if tensor.dtype is not None:
        dtype = _DTYPES.get(tensor.dtype)
    else:
        dtype = _STORAGE_DTYPES.get(tensor.storage.kind.rpartition(".")[2])
    if dtype is None:
        stated = ascii(tensor.dtype or tensor.storage.kind)[:100]
        raise CheckpointError(f"{name} is stored as {stated}, expected one of {', '.join(_DTYPES)}")
    return dtype


def _find_stretch(tensor: StoredTensor, archive: TorchArchive, name: str) -> Stretch:
    if tensor.storage.key not in archive.storages:
        raise CheckpointError(
            f"{name} has no data in the file: the file is incomplete, get it again"
        )
    return archive.storages[tensor.storage.key]


def _misfit(name: str, got: str) -> CheckpointError:
    return CheckpointError(f"{name} is damaged: got {got}; get the file again")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
