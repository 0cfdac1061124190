"""What a file is by its first bytes, so that a failed or wrong download is called by its name."""

from __future__ import annotations

import codecs
import re
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError

_HEAD = 512  # bytes that are looked at
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
_SHOWN_TEXT = 60  # characters of a text file that are quoted


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Args:
        name: for messages.
        advice: what to do when it stands where weights should be.
    """

    name: str
    advice: str


_AGAIN = "the download failed; get the file again"
_CONVERT = "take the .safetensors or .pt file of the model instead"

SAFETENSORS = FileKind("a safetensors file", _CONVERT)
TORCH = FileKind("a torch file", _CONVERT)
GGUF = FileKind("a GGUF file", _CONVERT)
EMPTY = FileKind("an empty file", _AGAIN)
POINTER = FileKind(
    "a Git LFS pointer, a few lines of text in place of the file itself",
    "run `git lfs pull` in that folder, or download the file itself",
)
WEB_PAGE = FileKind(
    "a web page",
    "the download link led to a page in place of the file (a login, an error, or a preview); "
    "use the direct download link",
)
OLD_TORCH = FileKind(
    "a file in torch's format from before version 1.6",
    "load it where you trust it and save it again as .safetensors",
)
TORCHSCRIPT = FileKind("a TorchScript program", _CONVERT)
CUT_ZIP = FileKind("the beginning of a torch or zip file without its end", _AGAIN)
ZIP = FileKind("a zip archive that is no torch file", "unpack it, and take the weights within")
PICKLE = FileKind("a bare pickle, not a file of torch.save", _CONVERT)
UNKNOWN = FileKind("of no known kind", f"it is damaged, or {_AGAIN}")

_STARTS = (
    (b"version https://git-lfs", POINTER),
    (b"GGUF", GGUF),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", OLD_TORCH),
    (b"\x89HDF\r\n", FileKind("an HDF5 file", _CONVERT)),
    (b"\x1f\x8b", FileKind("a gzip archive", "unpack it first")),
    (b"BZh", FileKind("a bzip2 archive", "unpack it first")),
    (b"\xfd7zXZ\0", FileKind("an xz archive", "unpack it first")),
    (b"\x28\xb5\x2f\xfd", FileKind("a zstd archive", "unpack it first")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7-Zip archive", "unpack it first")),
    (b"Rar!", FileKind("a RAR archive", "unpack it first")),
    (b"\x93NUMPY", FileKind("a numpy array", _CONVERT)),
    (b"\x7fELF", FileKind("a program", _CONVERT)),
    (b"MZ", FileKind("a Windows program", _CONVERT)),
)
TAR = FileKind("a tar archive", "unpack it first")
_TAR_MARK = slice(257, 262)  # where it says "ustar"
_PAGE = re.compile(r"\s*<[a-z!?]", re.IGNORECASE)
_ENCODINGS = (
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)  # the rest is UTF-8, with or without a mark


def find_kind(path: Path) -> FileKind:
    """The kind of a regular file.

    Raises:
        CheckpointError: it is missing, no regular file, or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path} is not a regular file, expected a model file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is not there; check the name, or put the file where it is expected"
        ) from error
    except (OSError, ValueError) as error:
        shown = ascii(str(path)).strip("'")
        raise CheckpointError(f"{shown} cannot be opened: {error}") from error
    return _kind_of(path, head, status.st_size)


def _kind_of(path: Path, head: bytes, size: int) -> FileKind:
    if not size:
        return EMPTY
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if _is_safetensors(head):
        return SAFETENSORS
    if head[_TAR_MARK] == b"ustar":
        return TAR
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return PICKLE
    return _kind_of_text(head, size)


def _is_safetensors(head: bytes) -> bool:
    """The length of the header, then the header, JSON."""
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= _LONGEST_HEADER and head[8:9] == b"{"


def _kind_of_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return CUT_ZIP
    except (ValueError, NotImplementedError, RuntimeError, EOFError):
        return ZIP
    if "constants.pkl" in names:
        return TORCHSCRIPT
    return TORCH if "data.pkl" in names else ZIP


def _kind_of_text(head: bytes, size: int) -> FileKind:
    """Text is what a server says in place of a file."""
    text = _read_text(head)
    if text is None:
        return UNKNOWN
    if _PAGE.match(text):
        return WEB_PAGE
    shown = " ".join(text[:_SHOWN_TEXT].split())
    return FileKind(f"{size} bytes of text that begin with {ascii(shown)}", _AGAIN)


def _read_text(head: bytes) -> str | None:
    """None where it is no text; its last letter may be cut."""
    encoding = next((name for mark, name in _ENCODINGS if head.startswith(mark)), "utf-8-sig")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
    is_text = all(letter.isprintable() or letter.isspace() for letter in text)
    return text if is_text else None


def check_kind(path: Path, expected: FileKind) -> None:
    """Raises CheckpointError, naming what the file is and what to do, unless it is of this kind."""
    kind = find_kind(path)
    if kind != expected:
        raise wrong_kind(path, kind, expected)


def wrong_kind(path: Path, kind: FileKind, *expected: FileKind) -> CheckpointError:
    """The error for a file of another kind than one of those expected."""
    wanted = " or ".join(each.name for each in expected)
    return CheckpointError(
        f"{path} cannot be read: it is {kind.name}, expected {wanted}; {kind.advice}"
    )


def wrong_text(path: Path, kind: FileKind, expected: str, reason: str) -> CheckpointError:
    """The error for a small file that should be something else than weights.

    Args:
        expected: what it should be.
        reason: why it is not, where the kind does not say it.
    """
    said = kind in (EMPTY, POINTER, WEB_PAGE) or not reason
    got = f"it is {kind.name}" if said else reason
    return CheckpointError(f"{path} cannot be read: {got}, expected {expected}; {_AGAIN}")
