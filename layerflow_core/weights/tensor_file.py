"""Files of tensors, read and written piece by piece, so that no file need fit into memory.

Nothing is unpickled here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..atomic import check_room, replacing
from ..errors import CheckpointError
from .file_kind import SAFETENSORS, check_kind

# safetensors' names of what torch can hold
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 8
_MOST_ELEMENTS = 2**48


class TensorSource(Protocol):
    """Tensors by key, of which shapes are known before any is read."""

    specs: Mapping[str, Tensor]
    """Tensors on the meta device: shape and dtype without data."""

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        """The tensors of these keys, mapped again from the file: their memory is given back with the last of them."""
        ...


class MemorySource:
    """Tensors that are in memory already."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.specs = {key: value.to("meta") for key, value in tensors.items()}

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        return {key: self._tensors[key] for key in keys}


class SafetensorsFile:
    """Any safetensors file.

    Raises:
        CheckpointError: missing, truncated, or no safetensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path):
            file = open_tensors(path)
            self.metadata: dict[str, str] = file.metadata() or {}
            self.specs = {key: _spec(file.get_slice(key), f"{path}: {key}") for key in file.keys()}

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        with naming(self.path):
            file = open_tensors(self.path)
            return {key: file.get_tensor(key) for key in keys}


@dataclass(frozen=True)
class View:
    """Some tensors of a source by other names.

    Args:
        names: key here -> key there.
    """

    source: TensorSource
    names: Mapping[str, str]

    @property
    def specs(self) -> dict[str, Tensor]:
        return {key: self.source.specs[theirs] for key, theirs in self.names.items()}

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        found = self.source.read([self.names[key] for key in keys])
        return {key: found[self.names[key]] for key in keys}


@dataclass(frozen=True)
class Chunk:
    """Some tensors of a file to be written, made from some of a source: all that is in memory at a time.

    Args:
        make: tensors by the source's keys to tensors by the new file's; also runs on the meta device.
    """

    source: TensorSource
    keys: Sequence[str]
    make: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict

    def specs(self) -> dict[str, Tensor]:
        return self.make({key: self.source.specs[key] for key in self.keys})

    def tensors(self) -> dict[str, Tensor]:
        return self.make(self.source.read(self.keys))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file; raises CheckpointError as ``SafetensorsFile`` does."""
    file = SafetensorsFile(path)
    return file.read(file.specs), file.metadata


def parse_tensors(data: bytes) -> dict[str, Tensor]:
    """All tensors of a safetensors file that is in memory; raises CheckpointError if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"these are no safetensors: {error}") from error


def open_tensors(path: Path):
    """Any safetensors file, memory-mapped: ``safetensors.safe_open``.

    Raises:
        CheckpointError: as ``SafetensorsFile`` does.
    """
    from safetensors import safe_open

    check_kind(path, SAFETENSORS)
    with naming(path):
        return safe_open(str(path), framework="pt")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns what safetensors says of a damaged file into an error that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        MemoryError,
    ) as error:  # torch's, where it cannot be mapped
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}): the file is damaged or its copy "
            "is not complete; get it again"
        ) from error


def _spec(part, name: str) -> Tensor:
    if part.get_dtype() not in _DTYPES:
        raise CheckpointError(
            f"{name} is stored as {part.get_dtype()}, expected one of {', '.join(_DTYPES)}"
        )
    shape = part.get_shape()
    if not is_countable(shape):
        raise CheckpointError(
            f"{name} has the shape {str(shape)[:100]}, which no tensor has: the file is damaged"
        )
    return torch.empty(shape, dtype=_DTYPES[part.get_dtype()], device="meta")


def is_countable(shape: Sequence[int]) -> bool:
    """Whether a shape's elements can be counted, also where it is empty because one dimension is 0."""
    return math.prod(max(size, 1) for size in shape) <= _MOST_ELEMENTS


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file, atomically: the file is whole or not there."""
    write_chunks(path, [Chunk(MemorySource(tensors), list(tensors))], metadata)


def write_chunks(path: Path, chunks: Iterable[Chunk], metadata: Mapping[str, str]) -> None:
    """A safetensors file, atomically, one chunk in memory at a time; the library itself writes only
    what is in memory whole.

    Raises:
        CheckpointError: the folder cannot be written to, or has too little room, which is found before a byte is
            written.
    """
    chunks = list(chunks)
    header, places, size = _lay_out([chunk.specs() for chunk in chunks], metadata)
    check_room(path, len(header) + size, CheckpointError)
    # A partial weight file must not end like a whole one, or ComfyUI would list it.
    with replacing(path, CheckpointError, keep_suffix=False) as partial, partial.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for chunk in chunks:
            for key, value in chunk.tensors().items():
                file.seek(8 + len(header) + places[key])
                file.write(_bytes_of(value))


def planned_size(chunks: Iterable[Chunk]) -> int:
    """Bytes of the tensors that ``write_chunks`` would write."""
    specs = (spec for chunk in chunks for spec in chunk.specs().values())
    return sum(spec.numel() * spec.element_size() for spec in specs)


def _lay_out(
    parts: Sequence[Mapping[str, Tensor]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int], int]:
    """The header, where each tensor begins behind it, and bytes of all tensors.

    Wide types first, so that all are aligned.
    """
    specs = {key: spec for part in parts for key, spec in part.items()}
    header: dict[str, dict] = {"__metadata__": dict(metadata)} if metadata else {}
    places = {}
    end = 0
    for key in sorted(specs, key=lambda k: (-specs[k].element_size(), k)):
        places[key] = end
        end = end + specs[key].numel() * specs[key].element_size()
        header[key] = {
            "dtype": _NAMES[specs[key].dtype],
            "shape": list(specs[key].shape),
            "data_offsets": [places[key], end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT), places, end


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
