"""A fixed list of files that somebody made to hurt, or took for something else."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from .mutations import DEEP, png_chunk

VIDEOS = (".mp4", ".mov", ".webm", ".gif")
IMAGES = (".png", ".jpg", ".tif", ".webp", ".bmp")
NAME = ".name"
OWNED = "owned"
"""File that a pickle makes when somebody runs it."""

_SIDE = 60_000  # pixels of an image that no memory holds
_BOMB = 4 * 1024**3 - 1024**2  # bytes, just what a zip can say without its larger format


@dataclass(frozen=True)
class Nasty:
    """Something that stands where a sound file is expected.

    Args:
        put: makes it at a path; its folder is there.
        suffixes: of the files that it stands for, none for all.
        refused: reading it is wrong, whatever comes out.
    """

    name: str
    put: Callable[[Path], object]
    suffixes: tuple[str, ...] = ()
    refused: bool = False

    def suits(self, target: str) -> bool:
        suffix = Path(target).suffix
        if suffix == NAME:  # its bytes are a name; how they lie on the disk is of no matter
            return suffix in self.suffixes
        return not self.suffixes or suffix in self.suffixes


def nasty_files(video: bytes) -> tuple[Nasty, ...]:
    """The list.

    Args:
        video: a sound one, for what leads to another file.
    """
    return (*_SPECIAL, *_TEXTS, *_bytes(), *_playlists(video))


def _fixed(name: str, data: bytes, *suffixes: str, refused: bool = False) -> Nasty:
    return Nasty(name, partial(_write, data=data), suffixes, refused)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


# What is no file.


def _link_to_secret(path: Path) -> None:
    path.symlink_to(Path("..", "canary", "secret.txt").resolve())


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _unreadable(path: Path) -> None:
    path.write_bytes(b"{}")
    path.chmod(0)


_SPECIAL = (
    Nasty("pipe", os.mkfifo),
    Nasty("folder", Path.mkdir),
    Nasty("link to a secret", _link_to_secret),
    Nasty("link to itself", _link_to_itself),
    Nasty("link to an endless device", _link_to_endless),
    Nasty("unreadable", _unreadable),
    Nasty("missing", lambda path: None),
)


# Text.

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 14000000000\n" % (
    b"0" * 64
)
_POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file closefile\n"
_TEXTS = (
    _fixed("empty", b""),
    _fixed("one byte", b"\x00"),
    _fixed("web page", b"<!DOCTYPE html><html><body>401 Unauthorized</body></html>"),
    _fixed("pointer of Git LFS", _LFS_POINTER),
    _fixed("not UTF-8", b"\xff\xfe\xfa{}"),
    _fixed("null", b"null", ".json", ".toml", ".name", ""),
    _fixed("list", b"[]", ".json", ""),
    _fixed("number", b"7", ".json", ""),
    _fixed("empty record", b"{}", ".json", ""),
    _fixed("deep JSON", DEEP.encode(), ".json", ".toml", ""),
    _fixed("deep record", b'{"a":' * 100_000, ".json", ""),
    _fixed("long number", b'{"fps": ' + b"9" * 1_000_000 + b"}", ".json", ""),
    _fixed("twice the same key", b'{"files": {}, "files": [], "videos": {}, "videos": 1}', ".json"),
    _fixed("PostScript", _POSTSCRIPT, *IMAGES, refused=True),
)


# Bytes.


def _bytes() -> tuple[Nasty, ...]:
    return (
        _fixed("huge PNG", _huge_png(), ".png", refused=True),
        _fixed("huge GIF", b"GIF89a\xff\xff\xff\xff\x00\x00\x00" + bytes(99), ".gif", refused=True),
        _fixed("huge BMP", _huge_bmp(), ".bmp", ".png", refused=True),
        _fixed("huge PSD", _huge_psd(), ".psd", refused=True),
        _fixed("huge tensor", _claim([2**40, 2**20], [0, 0]), ".safetensors", refused=True),
        _fixed("tensor beyond the end", _claim([1], [0, 2**62]), ".safetensors", refused=True),
        _fixed("tensor before the start", _claim([1], [-4, 0]), ".safetensors", refused=True),
        _fixed("endless header", b"\xff" * 8 + b"{}", ".safetensors", refused=True),
        _fixed("deep header", _header(DEEP), ".safetensors", refused=True),
        _fixed("pickle bomb", _zip_bomb("archive/data.pkl", _BOMB), ".pt", refused=True),
        *(
            _fixed(f"pickle: {name}", data, ".pt", refused=True)
            for name, data in _pickles().items()
        ),
    )


def _huge_png() -> bytes:
    head = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def _huge_bmp() -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(100)


def _huge_psd() -> bytes:
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 4, 30_000, 30_000, 8, 3)
    return head + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 1) + bytes(100)


def _claim(shape: list[int], offsets: list[int]) -> bytes:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
    return _header(json.dumps({"shared.weight": entry}))


def _header(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _zip_bomb(name: str, size: int) -> bytes:
    """A zip of one member of zeros; its checksum is wrong, which shows when it is too late."""
    block = bytes(32 * 1024**2)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * (size // len(block) - 1) + packer.flush()
    whole = size // len(block) * len(block)
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), whole, len(name), 0)
    local = b"PK\x03\x04" + facts + name.encode()
    central = b"PK\x01\x02" + struct.pack("<H", 20) + facts + bytes(14) + name.encode()
    place = len(local) + len(packed)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), place, 0)
    return local + packed + central + end


class _Call:
    """What a pickle calls when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def _pickles() -> dict[str, bytes]:
    own_bytes = (2,), np.dtype(object), b"\x01" * 16
    numbers = np.zeros(3)
    calls = {
        "os.system": _Call(os.system, f"touch {OWNED}"),
        "eval": _Call(eval, f"open({OWNED!r}, 'w')"),
        "numpy array over its own bytes": _Call(np.ndarray, *own_bytes),
        "numpy array of Python objects": np.array([print, None], dtype=object),
        "frombuffer of objects": _Call(np.frombuffer, b"\x01" * 16, np.dtype("u8")),
        "getattr": _Call(getattr, numbers, "tofile"),
        "huge bytearray": _Call(bytearray, 2**36),
    }
    return {
        **{name: _torch_file({"module": {"a": value}}) for name, value in calls.items()},
        "bare os.system": pickle.dumps(_Call(os.system, f"touch {OWNED}")),
        "old format": _torch_file({"a": _Call(os.system, f"touch {OWNED}")}, old=True),
        "huge storage": _torch_file({"a": torch.zeros(2).expand(2**20, 2)}).replace(
            struct.pack("<I", 2**20), struct.pack("<I", 2**31 - 1)
        ),
    }


def _torch_file(data: object, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(data, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


# What leads to another file.


def _playlists(video: bytes) -> tuple[Nasty, ...]:
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n"
    texts = {
        "playlist": head + "secret.mp4\n#EXT-X-ENDLIST\n",
        "playlist of the network": head + "http://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n",
        "concat script": "ffconcat version 1.0\nfile secret.mp4\n",
        "concat script to elsewhere": "ffconcat version 1.0\nfile ../canary/secret.mp4\n",
        "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    }
    return tuple(
        Nasty(name, partial(_put_beside, text=text, video=video), VIDEOS + IMAGES, True)
        for name, text in texts.items()
    )


def _put_beside(path: Path, text: str, video: bytes) -> None:
    (path.parent / "secret.mp4").write_bytes(video)
    path.write_text(text)
