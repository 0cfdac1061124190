"""Stretches of a file as tensors: small ones are read, others mapped one by one.

A file larger than RAM could not be mapped as a whole: its pages may be written to, so the system counts all of them.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

_SMALL = 64 * 1024  # bytes


@dataclass(frozen=True)
class Stretch:
    """Bytes of a file."""

    start: int
    length: int


def read_stretch(file: BinaryIO, stretch: Stretch, dtype: torch.dtype = torch.uint8) -> Tensor:
    """[length / width] of one dtype; writing to it changes no file.

    Raises:
        OSError, ValueError: it cannot be mapped.
    """
    flat = _read_bytes(file, stretch)
    if flat.data_ptr() % dtype.itemsize:
        flat = flat.clone()  # torch aligns storages, other writers need not
    return flat.view(dtype)


def _read_bytes(file: BinaryIO, stretch: Stretch) -> Tensor:
    if stretch.length <= _SMALL:
        file.seek(stretch.start)
        return torch.frombuffer(bytearray(file.read(stretch.length)), dtype=torch.uint8)
    before = stretch.start % mmap.ALLOCATIONGRANULARITY
    length = before + stretch.length
    first = stretch.start - before
    mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=first)
    return torch.frombuffer(mapped, dtype=torch.uint8, offset=before)
