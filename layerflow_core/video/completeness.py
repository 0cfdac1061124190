"""Whether a file has all of the bytes that it says it has, by its outermost structure; nothing is decoded.

ffmpeg and Pillow end a file that was cut where its bytes end, without a word. Each container says how long it is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_MOST_ELEMENTS = 1_000_000  # that are walked over; a file of more is left to its decoder


def find_cut(path: Path) -> str | None:
    """What is missing at the end of a file; None if it is whole, or of a kind that does not tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        walk = _walker_of(head)
        if walk is None:
            return None
        file.seek(0)
        try:
            return walk(file, size)
        except struct.error:
            return "it ends within a header"


def _walker_of(head: bytes) -> Callable[[BinaryIO, int], str | None] | None:
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _walk_boxes
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _walk_matroska
    if head[:4] == b"RIFF":
        return _walk_riff
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _walk_gif
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _walk_png
    if head[:4] == b"OggS":
        return _find_last_page
    if head[:1] == b"G":
        return _count_transport_packets
    return None


def _missing(end: int, size: int, what: str) -> str | None:
    """Bytes that an element lacks which should end at ``end``."""
    return f"{end - size} bytes are missing at the end of its {what}" if end > size else None


def _walk_boxes(file: BinaryIO, size: int) -> str | None:
    """MP4 and MOV: boxes of a size and a name (ISO 14496-12, 4.2)."""
    position = 0
    for _ in range(_MOST_ELEMENTS):
        if size - position < 8:  # also a few zeros that some writers leave
            return None
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length == 0:  # to the end of the file
            return None
        if length < 8:
            return None  # no box any more: bytes that a tool put behind the last one
        position += length
        if position > size and name.isalnum():
            return _missing(position, size, f"{name.decode('ascii')} box")
    return None


_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_OPENED = {_SEGMENT, _CLUSTER}
_LARGEST_WALKED = 256 * 1024**2  # bytes; of larger files only the segment's length is looked at


def _walk_matroska(file: BinaryIO, size: int) -> str | None:
    """WebM and Matroska (RFC 8794, RFC 9559): elements within a segment and its clusters, up to the end."""
    position = 0
    for _ in range(_MOST_ELEMENTS):
        if position >= size:
            return None
        file.seek(position)
        name = _read_vint(file, keep_marker=True)
        length = _read_vint(file)
        if name is None or name > 0xFFFFFFFF:
            return f"its elements are damaged at byte {position}"
        start = file.tell()
        if length is not None and start + length > size:
            return _missing(start + length, size, "segment" if name == _SEGMENT else "last element")
        if name in _OPENED and size <= _LARGEST_WALKED:
            position = start
        elif length is None:
            return None
        else:
            position = start + length
    return None


def _read_vint(file: BinaryIO, keep_marker: bool = False) -> int | None:
    """A number of variable length; None for "unknown", or for what is none. Raises struct.error at the end."""
    (first,) = struct.unpack("B", file.read(1))
    if not first:
        return None
    length = 9 - first.bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        raise struct.error
    value = int.from_bytes(bytes([first]) + rest, "big")
    if keep_marker:
        return value
    mask = (1 << (7 * length)) - 1
    return None if value & mask == mask else value & mask


def _walk_riff(file: BinaryIO, size: int) -> str | None:
    """AVI and WebP: one or more RIFF chunks, padded to even sizes."""
    position = 0
    for _ in range(_MOST_ELEMENTS):
        if size - position < 12:
            return None
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):  # not known when it was streamed
            return None
        end = position + 8 + length
        if end > size:
            return _missing(end, size, "RIFF chunk")
        position = end + length % 2
    return None


def _walk_gif(file: BinaryIO, size: int) -> str | None:
    """GIF89a, 17 to 27: blocks up to a trailer."""
    header = struct.unpack("<6sHHBBB", file.read(13))
    _skip_palette(file, header[3])
    while True:
        (kind,) = struct.unpack("B", file.read(1))
        if kind == 0x3B:
            return None
        if kind == 0x21:
            file.seek(1, os.SEEK_CUR)
        elif kind == 0x2C:
            (flags,) = struct.unpack("8xB", file.read(9))
            _skip_palette(file, flags)
            file.seek(1, os.SEEK_CUR)
        elif kind == 0:
            continue
        else:
            return "its blocks are damaged"
        _skip_sub_blocks(file)


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 * 2 ** ((flags & 7) + 1), os.SEEK_CUR)


def _skip_sub_blocks(file: BinaryIO) -> None:
    while True:
        (length,) = struct.unpack("B", file.read(1))
        if not length:
            return
        file.seek(length, os.SEEK_CUR)


def _walk_png(file: BinaryIO, size: int) -> str | None:
    """PNG: chunks up to IEND."""
    position = 8
    for _ in range(_MOST_ELEMENTS):
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if name == b"IEND":
            return None
        if position > size:
            return _missing(position, size, "chunks")
    return None


def _find_last_page(file: BinaryIO, size: int) -> str | None:
    """Ogg (RFC 3533): the last page says that it is the last."""
    file.seek(max(0, size - 65536 - 512))
    tail = file.read()
    start = tail.rfind(b"OggS")
    ends_stream = start >= 0 and tail[start + 5 : start + 6] and tail[start + 5] & 4
    return None if ends_stream else "its last page is missing"


_TRANSPORT_PACKET = 188


def _count_transport_packets(file: BinaryIO, size: int) -> str | None:
    """MPEG transport streams (ISO 13818-1): packets of 188 bytes."""
    head = file.read(2 * _TRANSPORT_PACKET + 1)
    is_one = (
        len(head) > 2 * _TRANSPORT_PACKET and head[0] == head[_TRANSPORT_PACKET] == head[-1] == 0x47
    )
    return "it ends within a packet" if is_one and size % _TRANSPORT_PACKET else None
