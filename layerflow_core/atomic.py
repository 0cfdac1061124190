"""Files and folders that are complete or not there, whatever else is written beside them.

What is being written has a hidden name of its own, ``.{name}.{process}.{random}.part``, until it is complete. Partial
files of processes that no longer run are removed the next time something is written to their folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from .errors import LayerFlowError, VideoFileError

_PARTIAL = re.compile(
    r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)\.[0-9a-f]{8}\.part(\.\w+)?"
)
_ABANDONED = 24 * 60 * 60  # seconds without a change, for files of machines that cannot be asked
_TRIES = 100
_LONGEST_STEM = 120  # bytes of the final name that its partial name repeats


@contextmanager
def replacing(
    path: Path,
    error_type: type[LayerFlowError] = VideoFileError,
    keep_suffix: bool = True,
) -> Iterator[Path]:
    """A partial file beside ``path`` that replaces it when the block ends well, and is removed when not.

    Args:
        error_type: of what is raised.
        keep_suffix: the partial name ends like the final one, for encoders that look at it.

    Raises:
        error_type: the folder cannot be written to, or the disk is full.
    """
    partial = _partial_path(path, path.suffix if keep_suffix else "")
    try:
        _create(partial, Path.touch)
        remove_abandoned(path.parent)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise error_type(f"{path} cannot be written: {error}") from error
    finally:
        _remove(partial)


@dataclass
class NewFolder:
    """A folder in the making.

    Args:
        partial: where its files go.
        path: what it is called in the end; known when the block that makes it has ended.
    """

    partial: Path
    path: Path


@contextmanager
def new_folder(
    path: Path,
    others: Iterable[Path] = (),
    error_type: type[LayerFlowError] = VideoFileError,
) -> Iterator[NewFolder]:
    """A partial folder that gets the first free of several names when the block ends well, and is removed when not.

    Nothing that is there is ever replaced, also when several processes make folders of the same names.

    Args:
        path: the wanted name.
        others: names beside it to try when it is taken.
        error_type: of what is raised.

    Raises:
        error_type: all names are taken, the parent cannot be written to, or the disk is full.
    """
    partial = _partial_path(path)
    folder = NewFolder(partial, path)
    try:
        _create(partial, Path.mkdir)
        remove_abandoned(path.parent)
        yield folder
        claimed = _claim(partial, chain([path], others))
        if claimed is None:
            raise error_type(f"{path} already exists and is not overwritten; choose another name")
        folder.path = claimed
    except OSError as error:
        raise error_type(f"{path} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replacing_folder(
    path: Path, error_type: type[LayerFlowError] = VideoFileError
) -> Iterator[Path]:
    """A partial folder beside ``path`` that replaces it when the block ends well, and is removed when not.

    Raises:
        error_type: the parent cannot be written to, or the disk is full.
    """
    partial = _partial_path(path)
    old = _partial_path(path)
    try:
        _create(partial, Path.mkdir)
        remove_abandoned(path.parent)
        yield partial
        if os.path.lexists(path):
            path.rename(old)
        partial.rename(path)
    except OSError as error:
        raise error_type(f"{path} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _create(partial: Path, make: Callable[[Path], None]) -> None:
    """Make a partial file or folder and what is above it, also while another process removes empty folders there."""
    for number in range(_TRIES):
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            make(partial)
        except FileNotFoundError:
            if number == _TRIES - 1:
                raise
        else:
            return


def check_writable(folder: Path, error_type: type[LayerFlowError] = VideoFileError) -> None:
    """Raises error_type unless files can be made in a folder, or the folder itself: so a long run
    fails at its start.
    """
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    probe = _partial_path(there / "probe")
    try:
        _create(probe, Path.touch)
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # a name that is too long says so here
    except (OSError, ValueError) as error:
        raise error_type(f"{folder} cannot be written: {error}") from error
    finally:
        _remove(probe)


def check_room(path: Path, size: int, error_type: type[LayerFlowError]) -> None:
    """Raises error_type unless N bytes are free where a file or folder is to be."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise error_type(
            f"{path} takes {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free there: "
            "make room, or choose another disk"
        )


def numbered(folder: Path, name: str, first: int = 1) -> Iterator[Path]:
    """``name_00001`` and so on in a folder: names for ``new_folder`` to choose from."""
    return (folder / f"{name}_{number:05d}" for number in count(first))


def _claim(partial: Path, candidates: Iterable[Path]) -> Path | None:
    """Rename a folder that is not empty to the first free name; None if there is none."""
    for candidate in candidates:
        if os.path.lexists(candidate):  # rename would replace an empty folder
            continue
        try:
            partial.rename(candidate)
        except OSError:
            if os.path.lexists(candidate):  # another process was faster
                continue
            raise
        return candidate
    return None


def remove_abandoned(folder: Path) -> None:
    """Remove partial files and folders below ``folder`` whose process has ended."""
    for entry in _partials_in(folder):
        if _is_abandoned(entry):
            _remove(entry)


def _partials_in(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if _PARTIAL.fullmatch(entry.name)]
    except OSError:
        return []


def _is_abandoned(partial: Path) -> bool:
    import psutil

    match = _PARTIAL.fullmatch(partial.name)
    if match["machine"] == _machine():
        return not psutil.pid_exists(int(match["process"]))
    try:
        return time.time() - partial.stat().st_mtime > _ABANDONED
    except OSError:
        return False


def _remove(partial: Path) -> None:
    # Path's own raise for names that are too long.
    if os.path.isdir(partial) and not os.path.islink(partial):
        shutil.rmtree(partial, ignore_errors=True)
        return
    try:
        partial.unlink(missing_ok=True)
    except OSError:  # its folder is none, or another process removed it
        return


def _partial_path(path: Path, suffix: str = "") -> Path:
    stem = path.name.encode(errors="replace")[:_LONGEST_STEM].decode(errors="ignore")
    return path.with_name(f".{stem}.{_machine()}-{os.getpid()}.{secrets.token_hex(4)}.part{suffix}")


def _machine() -> str:
    """Where process numbers mean the same: a machine, or a container on it."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]
