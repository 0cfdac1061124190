"""Which results are measured: saved sets of layers below folders, and the true ones that belong to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import EvaluationError, VideoFileError
from ..layer_files.loading import find_record, load_set
from ..layer_files.record import RECORD, read_set
from ..layers import LayerVideo
from ..names import FileNames
from ..plain_data import Text, as_record

_DEEPEST = 16
_MOST_SETS = 100_000


@dataclass(frozen=True)
class SavedSet:
    """One saved result.

    Args:
        name: below its run's folder, ``.`` where it is that folder itself.
        record: its ``layers.json``.
        truth: the record of the true layers, None where there are none.
    """

    name: str
    record: Path
    truth: Path | None = None


@dataclass(frozen=True)
class Run:
    """A row of the tables: all sets below one folder."""

    name: str
    sets: tuple[SavedSet, ...]


@dataclass(frozen=True)
class LoadedSet:
    """Layers, and the prompts that the record names for them."""

    layers: LayerVideo
    prompts: dict[str, str]


def find_runs(folders: Sequence[Path], truth: Path | None = None) -> list[Run]:
    """A run for each folder.

    Args:
        truth: a set, for all results; or a folder with sets of the same names below it as the results have.

    Raises:
        EvaluationError: a folder without any set.
    """
    if not folders:
        raise EvaluationError(
            "got no folder, expected one or more with saved layers, or --toy for the embedded model"
        )
    if truth is not None:
        next(_records_in(truth), None) or _refuse(truth)
    names = FileNames()
    runs = []
    for folder in folders:
        records = sorted(_records_in(folder)) or _refuse(folder)
        sets = [SavedSet(_name(r, folder), r, _truth_of(r, folder, truth)) for r in records]
        runs.append(Run(names.claim(Path(os.path.abspath(folder)).name), tuple(sets)))
    return runs


def load(record: Path) -> LoadedSet:
    """The layers of a set; raises FrameError or VideoFileError as ``layer_files.loading`` does."""
    stated = read_set(record)
    return LoadedSet(load_set(stated), _prompts_in(stated.prompts))


def fingerprint(record: Path) -> str:
    """Changes whenever a file of the set does: its name, size or time.

    Raises:
        VideoFileError: the record cannot be read.
    """
    stated = read_set(record)
    states = [_state(record)]
    for path in sorted(stated.files.values()):
        inside = sorted(path.iterdir()) if os.path.isdir(path) else []
        states += [_state(file) for file in (path, *inside)]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ascii(path.name)
    return f"{ascii(path.name)} {status.st_size} {status.st_mtime_ns}"


def _prompts_in(stated: object) -> dict[str, str]:
    """By layer; nothing where a record says something else under that name."""
    try:
        return as_record(dict[str, Text], stated, "prompts", VideoFileError, strict=True)
    except VideoFileError:
        return {}


def _records_in(folder: Path) -> Iterator[Path]:
    """Every set's record below a folder, which may be one itself; hidden folders are left out."""
    own = find_record(folder)
    if own is not None:
        yield own
        return
    count = 0
    for place, below, files in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        if RECORD in files:
            below.clear()  # what lies in a set belongs to it
            count += 1
            yield Path(place) / RECORD
        below[:] = [name for name in below if not name.startswith(".") and depth < _DEEPEST]
        if count > _MOST_SETS:
            raise EvaluationError(f"{folder}: got more than {_MOST_SETS} sets, expected fewer")


def _name(record: Path, folder: Path) -> str:
    inside = record.parent.relative_to(folder if os.path.isdir(folder) else folder.parent)
    return PurePosixPath(inside).as_posix()


def _truth_of(record: Path, folder: Path, truth: Path | None) -> Path | None:
    if truth is None:
        return None
    own = find_record(truth)
    return own if own is not None else find_record(truth / _name(record, folder))


def _refuse(folder: Path):
    what = "has no set of layers" if os.path.isdir(folder) else "is not there"
    raise EvaluationError(
        f"{folder} {what}: expected a folder with {RECORD} in it or somewhere below, "
        "as SaveLayers and the commands write it"
    )
