"""What LoadLayers can load: names of files, sequences and saved sets in ComfyUI's input and output folders.

A name is ``path [input]`` or ``path [output]``. A sequence of images is one name, its folder; so is a saved set.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..layerflow_core.errors import VideoFileError
from ..layerflow_core.layer_files.record import RECORD
from ..layerflow_core.video.formats import ENDINGS, FRAME_ENDINGS

_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_DEEPEST = 32  # folders below each other
_NAME = re.compile(r"(?P<path>.+) \[(?P<root>input|output)\]", re.DOTALL)


def list_sources() -> list[str]:
    """All names, those of the input folder first."""
    names = []
    for kind, root in _roots().items():
        names += sorted(f"{path} [{kind}]" for path in _walk(root, "", set(), 0))
    return names


def find_source(name: str) -> Path:
    """Where a listed name lies.

    Raises:
        VideoFileError: it is not there, or leads out of the folders.
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is not None:
        parts = PurePosixPath(match["path"].replace("\\", "/")).parts
        path = _roots()[match["root"]].joinpath(*parts)
        is_inside = (
            bool(parts)
            and not any(part == ".." or ":" in part or "\0" in part for part in parts)
            and parts[0] != "/"
        )
        if is_inside and (os.path.isfile(path) or os.path.isdir(path)):
            return path
    raise VideoFileError(
        f"{ascii(name)[:200]} is not there, expected a file or folder in ComfyUI's input or output; "
        "press R to list them again"
    )


def fingerprint(name: str) -> str:
    """Changes whenever a file does that is read for this name: of a folder or a set, all of them."""
    try:
        path = find_source(name)
        if path.name == RECORD:
            path = path.parent
        states = sorted(_states(path))
    except (VideoFileError, OSError):
        return ascii(name)
    return hashlib.sha256(ascii([str(path), states]).encode()).hexdigest()


def _roots() -> dict[str, Path]:
    import folder_paths

    return {
        "input": Path(folder_paths.get_input_directory()),
        "output": Path(folder_paths.get_output_directory()),
    }


def _walk(
    folder: str | Path, prefix: str, above: set[tuple[int, int]], depth: int
) -> Iterator[str]:
    """Names below a folder, relative to its root; hidden, partial and unreadable ones are left out.

    Args:
        prefix: of the names, "" in the root itself.
        above: folders that this one lies in, so that links in a circle end.
    """
    try:
        status = os.stat(folder)
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above or depth > _DEEPEST:
        return
    if prefix and any(entry.name == RECORD for entry in entries):
        yield prefix.rstrip("/")
        return
    yield from _files_in(entries, prefix)
    for entry in entries:
        if _is_dir(entry):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {identity}, depth + 1)


def _files_in(entries: list[os.DirEntry], prefix: str) -> Iterator[str]:
    suffixes = {entry.name: os.path.splitext(entry.name)[1].lower() for entry in entries}
    known = [entry for entry in entries if suffixes[entry.name] in ENDINGS and _is_file(entry)]
    images = [entry.name for entry in known if suffixes[entry.name] in FRAME_ENDINGS]
    numbered = (
        _numbered(images) if prefix else set()
    )  # the root itself has no name to stand for them
    if prefix and images:
        yield prefix.rstrip("/")
    for entry in known:
        if entry.name not in numbered:
            yield prefix + entry.name


def _numbered(images: list[str]) -> set[str]:
    """Images whose names differ from others' by a number alone."""
    patterns = {
        name: _LAST_NUMBER.sub("#", name, count=1) for name in images if _LAST_NUMBER.search(name)
    }
    counts = Counter(patterns.values())
    return {name for name, pattern in patterns.items() if counts[pattern] > 1}


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry) -> bool:
    """A regular file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _states(path: Path) -> Iterator[tuple]:
    """Name, size and time of a file, or of all files in a folder and one level below."""
    folders = [(path, 0)] if os.path.isdir(path) else []
    if not folders:
        yield _state(path.name, os.stat(path))
    while folders:
        folder, depth = folders.pop()
        for entry in os.scandir(folder):
            if _is_dir(entry) and depth == 0:
                folders.append((Path(entry.path), 1))
            elif _is_file(entry):
                yield _state(os.path.relpath(entry.path, path), entry.stat())


def _state(name: str, status: os.stat_result) -> tuple:
    return name, status.st_size, status.st_mtime_ns
