"""Which files of a folder are read, and in which order.

Only regular files are ever opened: a pipe would be waited for, a device may never end.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from ..errors import VideoFileError

_log = logging.getLogger(__name__)

# A minus is a sign where nothing, a blank or a separator stands before it: "frame.-10", not "shot-10".
_NUMBER = re.compile(r"(?:(?<=[ ._])-|^-)?[0-9]+")


def natural_key(name: str) -> tuple:
    """Key that sorts names as people count: ``frame_2`` before ``frame_10``, ``-1`` before ``0``, case ignored."""
    stem, _, suffix = name.rpartition(".")
    stem = stem or name
    parts: list[tuple] = []
    end = 0
    for match in _NUMBER.finditer(stem):
        text = stem[end : match.start()].casefold()
        parts += [(1, 0, text), (0, int(match[0]), "")]
        end = match.end()
    if end < len(stem):
        parts.append((1, 0, stem[end:].casefold()))
    return tuple(parts), suffix.casefold(), len(name), name


def sort_images(paths: list[Path]) -> list[Path]:
    """Images in the order of their numbers."""
    return sorted(paths, key=lambda path: natural_key(path.name))


def is_regular(path: Path) -> bool:
    """Whether a file, or what a link to it leads to, can be opened and read to its end."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def check_regular(path: Path) -> None:
    """Raises VideoFileError unless the path leads to a regular file."""
    if not is_regular(path):
        kind = "is not a regular file" if os.path.exists(path) else "is not there"
        raise VideoFileError(f"{path} {kind}, expected a video or image file")


def open_binary(path: Path):
    """A regular file; raises VideoFileError if it is none."""
    check_regular(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise VideoFileError(f"{path} cannot be read: {error}") from error


def frame_name(number: int, ending: str) -> str:
    """Of a frame that is a file of its own: ``00000.png`` and so on."""
    return f"{number:05d}{ending}"


def list_frames(folder: Path, endings: Collection[str]) -> list[Path]:
    """Files of a folder with these endings, in the order of their numbers.

    What is no regular file is left out with a warning.

    Raises:
        VideoFileError: there is none, or the folder cannot be read.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise VideoFileError(f"{folder} cannot be read as a folder: {error}") from error
    named = [path for path in entries if _is_called(path, endings)]
    paths = [path for path in named if is_regular(path)]
    others = set(named) - set(paths)
    if others:
        first = min(path.name for path in others)
        _log.warning(
            "%s: left out %d entries that are not regular files, such as %s",
            folder,
            len(others),
            first,
        )
    if not paths:
        raise VideoFileError(
            f"{folder} holds no images, expected frames as {', '.join(sorted(endings))}"
        )
    return sort_images(paths)


def _is_called(path: Path, endings: Collection[str]) -> bool:
    return path.suffix.lower() in endings and not path.name.startswith(".")
