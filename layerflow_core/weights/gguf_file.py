"""T5 in GGUF, as people keep it beside ComfyUI's text encoders; weights in few bits are widened as they are read.

The file's header is walked here, within bounds, and nothing of its metadata is kept; what the stored bits mean is known
by the library ``gguf``, which is asked for only when such a file is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError
from .file_kind import GGUF, check_kind
from .stretch import Stretch, read_stretch
from .tensor_file import is_countable

LARGEST_HEADER = 64 * 1024**2
"""Bytes before the first tensor; a T5 with its vocabulary has 1 MB."""
_MOST_ENTRIES = 100_000
_MOST_DIMENSIONS = 4
_LONGEST_NAME = 1000
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_STRING, _ARRAY = 8, 9
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes by type
_UINT32 = 4
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_WIDENED = torch.bfloat16
# llama.cpp's names within a block of T5's encoder -> transformers'.
_IN_BLOCK = {
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
    "ffn_norm": "layer.1.layer_norm",
}
_ONCE = {
    "token_embd.weight": "shared.weight",
    "enc.output_norm.weight": "encoder.final_layer_norm.weight",
}
_BLOCK = re.compile(r"enc\.blk\.(\d+)\.(\w+)\.weight")


@dataclass(frozen=True)
class _Place:
    """A tensor's bytes in the file, and what they are."""

    stretch: Stretch
    shape: tuple[int, ...]
    kind: str


class GgufFile:
    """A GGUF file as a ``TensorSource``, by the names that llama.cpp gives.

    Raises:
        CheckpointError: damaged, out of bounds, of a type of bits that is not known, or ``gguf`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        check_kind(path, GGUF)
        self.path = path
        _library(path)
        try:
            with path.open("rb") as file:
                self._places = _Header(file, path).places()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        self.specs = {
            name: torch.empty(place.shape, dtype=_PLAIN.get(place.kind, _WIDENED), device="meta")
            for name, place in self._places.items()
        }

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        try:
            with self.path.open("rb") as file:
                return {key: self._read(file, self._places[key]) for key in keys}
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}") from error

    def _read(self, file: BinaryIO, place: _Place) -> Tensor:
        if place.kind in _PLAIN:
            return read_stretch(file, place.stretch, _PLAIN[place.kind]).view(place.shape)
        gguf = _library(self.path)
        kind = gguf.GGMLQuantizationType[place.kind]
        rows = math.prod(place.shape[:-1])
        stored = read_stretch(file, place.stretch).view(rows, -1).numpy()
        return torch.from_numpy(gguf.quants.dequantize(stored, kind)).to(_WIDENED).view(place.shape)


def t5_names(keys: Iterable[str]) -> dict[str, str]:
    """transformers' key -> llama.cpp's, for what there is of a T5 encoder."""
    found = {}
    for key in keys:
        block = _BLOCK.fullmatch(key)
        if key in _ONCE:
            found[_ONCE[key]] = key
        elif block and block[2] in _IN_BLOCK:
            found[f"encoder.block.{block[1]}.{_IN_BLOCK[block[2]]}.weight"] = key
    return found


def _library(path: Path):
    try:
        import gguf
        import gguf.quants
    except ImportError as error:
        raise CheckpointError(
            f"{path} is a GGUF file, which needs the package gguf: pip install gguf, or take a "
            ".safetensors file of the same model"
        ) from error
    return gguf


class _Header:
    """A walk through the header; every number is believed only within the bounds above."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._size = path.stat().st_size
        self._data = file.read(min(self._size, LARGEST_HEADER))
        self._path = path
        self._at = 4  # behind the mark
        self._alignment = _ALIGNMENT

    def places(self) -> Mapping[str, _Place]:
        version = self._number(4)
        if version not in _VERSIONS:
            raise self._damaged(f"version {version}, expected {' or '.join(map(str, _VERSIONS))}")
        tensors = self._count(_MOST_ENTRIES, "tensors")
        for _ in range(self._count(_MOST_ENTRIES, "entries")):
            self._pass_entry()
        infos = dict(self._tensor_info() for _ in range(tensors))
        base = -(-self._at // self._alignment) * self._alignment
        return {name: self._place(name, base, *info) for name, info in infos.items()}

    def _place(self, name: str, base: int, shape: tuple[int, ...], kind: int, at: int) -> _Place:
        gguf = _library(self._path)
        known = {kind.value: kind for kind in gguf.GGML_QUANT_SIZES}
        if kind not in known:
            raise self._damaged(f"{ascii(name)} of type {kind}, which this version of gguf lacks")
        items, width = gguf.GGML_QUANT_SIZES[known[kind]]
        if not shape or shape[-1] % items or not is_countable(shape) or not math.prod(shape):
            raise self._damaged(f"{ascii(name)} of shape {list(shape)}")
        length = math.prod(shape) // items * width
        if base + at + length > self._size:
            raise self._damaged(f"{ascii(name)}, which reaches beyond the file's end")
        return _Place(Stretch(base + at, length), shape, known[kind].name)

    def _tensor_info(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        name = self._text()
        dimensions = self._number(4)
        if dimensions > _MOST_DIMENSIONS:
            raise self._damaged(f"{dimensions} dimensions")
        shape = tuple(self._number(8) for _ in range(dimensions))
        return name, (shape[::-1], self._number(4), self._number(8))

    def _pass_entry(self) -> None:
        name = self._text()
        kind = self._number(4)
        if name == "general.alignment" and kind == _UINT32:
            self._alignment = self._number(4)
            if not 1 <= self._alignment <= 4096:
                raise self._damaged(f"an alignment of {self._alignment}")
            return
        self._pass_value(kind)

    def _pass_value(self, kind: int) -> None:
        if kind == _STRING:
            self._pass(self._number(8))
        elif kind == _ARRAY:
            inner = self._number(4)
            count = self._number(8)
            if inner in _SCALARS:
                self._pass(count * _SCALARS[inner])
            elif inner == _STRING:
                for _ in range(min(count, LARGEST_HEADER)):
                    self._pass(self._number(8))
            else:
                raise self._damaged(f"an array of type {inner}")
        elif kind in _SCALARS:
            self._pass(_SCALARS[kind])
        else:
            raise self._damaged(f"an entry of type {kind}")

    def _count(self, most: int, what: str) -> int:
        count = self._number(8)
        if count > most:
            raise self._damaged(f"{count} {what}, expected {most} at most")
        return count

    def _text(self) -> str:
        length = self._number(8)
        if length > _LONGEST_NAME:
            raise self._damaged(f"a name of {length} bytes")
        start = self._at
        self._pass(length)
        return self._data[start : self._at].decode("utf-8", "replace")

    def _number(self, width: int) -> int:
        start = self._at
        self._pass(width)
        return int.from_bytes(self._data[start : self._at], "little")

    def _pass(self, length: int) -> None:
        self._at += length
        if self._at > len(self._data):
            raise self._damaged("a header that ends too late")

    def _damaged(self, got: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path} is a GGUF file that cannot be read: got {got}; it is damaged, get it again"
        )
