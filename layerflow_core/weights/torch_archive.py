"""The zip archive that ``torch.save`` writes: where its pickle and its storages lie within the file.

Everything is stored, never compressed, so storages can be mapped where they lie. Numbers in the archive are believed
only as far as the file reaches.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from .file_kind import TORCH, check_kind
from .stretch import Stretch

LARGEST_PICKLE = 64 * 1024**2
"""Bytes of ``data.pkl``; that of a checkpoint of 2,000 tensors has 200 KB."""

_LOCAL_HEADER = 30  # bytes before the name
_SIGNATURE = b"PK\x03\x04"
_PICKLE = "data.pkl"
_STORAGES = "data/"
_ORDER = "byteorder"


@dataclass(frozen=True)
class TorchArchive:
    """What an archive holds.

    Args:
        pickle: the bytes of ``data.pkl``.
        storages: by key.
        size: of the whole file, bytes.
    """

    pickle: bytes
    storages: Mapping[str, Stretch]
    size: int


def read_archive(path: Path) -> TorchArchive:
    """Raises CheckpointError if this is no whole file of ``torch.save``; the message says what it is."""
    check_kind(path, TORCH)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            members = _find_members(file, size, path)
            pickle = _read(file, members, _PICKLE, LARGEST_PICKLE, path)
            order = _read(file, members, _ORDER, 16, path) if _ORDER in members else b""
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ) as error:
        raise _damaged(path, "its directory cannot be read") from error
    if order and order.decode("ascii", "replace") != sys.byteorder:
        raise CheckpointError(
            f"{path} has numbers of byte order {order!r}, expected {sys.byteorder}: save it again on this machine"
        )
    storages = {
        name.removeprefix(_STORAGES): stretch
        for name, stretch in members.items()
        if name.startswith(_STORAGES)
    }
    return TorchArchive(pickle, storages, size)


def _find_members(file, size: int, path: Path) -> dict[str, Stretch]:
    """By their names below the archive's one folder."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    roots = [
        entry.filename.removesuffix(_PICKLE)
        for entry in entries
        if entry.filename.endswith(f"/{_PICKLE}")
    ]
    if len(roots) != 1:
        raise _damaged(path, f"got {len(roots)} lists of tensors, expected one")
    (root,) = roots
    return {
        entry.filename.removeprefix(root): _locate(file, entry, size, path)
        for entry in entries
        if entry.filename.startswith(root)
    }


def _locate(file, entry: zipfile.ZipInfo, size: int, path: Path) -> Stretch:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise CheckpointError(
            f"{path} cannot be read: {_shown(entry)} in it is compressed, which torch never does; get the original file"
        )
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) != _LOCAL_HEADER or not header.startswith(_SIGNATURE):
        raise _damaged(path, f"{_shown(entry)} is not where it should be")
    name_length = int.from_bytes(header[26:28], "little")
    extra_length = int.from_bytes(header[28:30], "little")
    start = entry.header_offset + _LOCAL_HEADER + name_length + extra_length
    if start + entry.file_size > size:
        raise _damaged(path, f"{_shown(entry)} has {entry.file_size} bytes, more than are there")
    return Stretch(start, entry.file_size)


def _read(file, members: Mapping[str, Stretch], name: str, largest: int, path: Path) -> bytes:
    stretch = members[name]
    if stretch.length > largest:
        raise CheckpointError(
            f"{path} cannot be read: got {stretch.length} bytes of {name}, expected {largest} at most"
        )
    file.seek(stretch.start)
    return file.read(stretch.length)


def _shown(entry: zipfile.ZipInfo) -> str:
    return ascii(entry.filename)[:100]


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read as weights: {what}; the file is damaged, get it again"
    )
