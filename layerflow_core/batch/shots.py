"""A shot: one run of a batch, with all that its result depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, Len

from ..errors import LayerFlowError, VideoFileError
from ..layer_files.record import RECORD, read_set
from ..layer_files.saving import SaveOptions
from ..layout import STRICT
from ..plain_data import Count, Finite, Name, Text, read_record
from ..sampling.noise import LARGEST_SEED
from ..sampling.sampler import SamplerSettings
from ..video.frame_selection import FrameSelection
from ..weights.checkpoint import describe_file, digest

GENERATE = "generate"
DECOMPOSE = "decompose"
CONDITION = "condition"
TASKS = (GENERATE, DECOMPOSE, CONDITION)
SUMMARY = "summary.html"
"""Of a batch, beside its shots."""
INPUTS = "inputs_sha256"
"""Key of ``layers.json`` that says what a shot was made of."""
_HASH_FORMAT = 1  # another number, and every shot is made again


@dataclass(frozen=True)
class ShotFields:
    """A shot as it is written; fields are called as the options of the commands.

    Args:
        name: of the shot; by default ``shot_0001`` and so on.
        task: one of ``TASKS``.
        video: of *decompose*, a file or a folder of images.
        given: of *condition*, a file or folder by layer.
        alpha: matte of a given foreground without alpha.
        foreground, background, blended: prompts.
        seeds: several, as a list or as text such as ``1-4``: one shot each.
        output: pattern of the folder's name, with ``{name}``, ``{seed}``, ``{number}`` and ``{task}``; ``/`` makes
            folders in folders.
    """

    __pydantic_config__ = STRICT

    name: Name | None = None
    task: Name | None = None
    model: Path | None = None
    video: Path | None = None
    given: Annotated[Mapping[Name, Path], Len(0, 64)] = field(default_factory=dict)
    alpha: Path | None = None
    foreground: Text = ""
    background: Text = ""
    blended: Text = ""
    seed: Annotated[int, Interval(ge=0, le=LARGEST_SEED)] | None = None
    seeds: Annotated[list[int], Len(1, 10_000)] | Text | None = None
    output: Name | None = None
    fit: Name = "pad"
    timing: Name = "first"
    overlap: Count = 4
    # Of SamplerSettings; None is the checkpoint's own.
    steps: int | None = None
    guidance: Name | None = None
    scale: Finite | None = None
    solver: Name | None = None
    guidance_margin: Finite | None = None
    step_cache: Finite | None = None
    # Of FrameSelection.
    start: Count = 0
    every: Count = 1
    count: Count = 0
    width: Count = 0
    height: Count = 0
    fps: Finite = 0
    colours: Name = FrameSelection.colours
    keep_what_is_there: bool = False
    premultiplied: bool = False
    # Of SaveOptions.
    format: Name = SaveOptions.format
    opaque: Name = SaveOptions.opaque
    alpha_kind: Name = SaveOptions.alpha
    frame: Count = 0


SAMPLER_FIELDS = tuple(field.name for field in fields(SamplerSettings))
SELECTION_FIELDS = tuple(field.name for field in fields(FrameSelection))


@dataclass(frozen=True)
class Shot:
    """One run, checked.

    Args:
        number: among the shots of the list, from 1.
        folder: that its layers get.
        prompts: by layer.
        sampler: fields of ``SamplerSettings`` that are not the checkpoint's own.
    """

    number: int
    name: str
    task: str
    folder: Path
    model: Path
    seed: int
    prompts: Mapping[str, str]
    sampler: Mapping[str, Any]
    selection: FrameSelection
    saving: SaveOptions
    video: Path | None = None
    given: Mapping[str, Path] = field(default_factory=dict)
    alpha: Path | None = None
    fit: str = "pad"
    timing: str = "first"
    overlap: int = 4

    @property
    def files(self) -> dict[str, Path]:
        """What it reads, by what it is for."""
        named = {"video": self.video, "alpha": self.alpha, "model": self.model}
        read = {name: path for name, path in named.items() if path is not None}
        return read | {f"given {name}": path for name, path in self.given.items()}


def hash_inputs(shot: Shot, model_options: str) -> str:
    """sha256 of all that a shot's layers depend on: what is written, and the bytes of the files that are named.

    Args:
        model_options: how the checkpoint becomes a model, as text.

    Raises:
        VideoFileError: a file cannot be read.
    """
    facts = {
        "format": _HASH_FORMAT,
        "task": shot.task,
        "seed": shot.seed,
        "prompts": dict(shot.prompts),
        "sampler": dict(shot.sampler),
        "selection": {name: str(value) for name, value in asdict(shot.selection).items()},
        "saving": asdict(shot.saving),
        "brought": [shot.fit, shot.timing, shot.overlap],
        "model": model_options,
        "files": {name: hash_path(path) for name, path in shot.files.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def hash_path(path: Path) -> str:
    """sha256 of a file, or of the names and files of a folder; raises VideoFileError if it cannot be read."""
    try:
        if not os.path.isdir(path):
            return _hash_once(path, describe_file(path))
        hashed = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            name = file.relative_to(path).as_posix()
            hashed.update(f"{name}\0{_hash_once(file, describe_file(file))}\n".encode())
        return hashed.hexdigest()
    except OSError as error:
        raise VideoFileError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=10_000)
def _hash_once(path: Path, state: str) -> str:
    return digest(path)


@dataclass(frozen=True)
class _Inputs:
    inputs_sha256: Annotated[str, Len(64, 64)]


def is_ours(folder: Path) -> bool:
    """Whether a folder is the result of a batch's shot, which another result may replace."""
    return _inputs_of(folder) is not None


def is_done(folder: Path, inputs: str) -> bool:
    """Whether a folder has the layers of a shot with these inputs, all of them."""
    if _inputs_of(folder) != inputs:
        return False
    try:
        return all(path.exists() for path in read_set(folder / RECORD).files.values())
    except LayerFlowError:
        return False


def _inputs_of(folder: Path) -> str | None:
    try:
        return read_record(_Inputs, folder / RECORD, VideoFileError).inputs_sha256
    except VideoFileError:
        return None
