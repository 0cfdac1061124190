"""Layered clips on disk: the pack's dataset format.

A dataset is a folder of clips; a clip is a folder:

    my_dataset/
      dog_0001/
        clip.json          {"prompts": {"foreground": "...", "background": "...", "blended": "..."},
        "fps": "24000/1001"}
        foreground/        images in name order, or foreground.mov, foreground.png, ...
        alpha/             white = opaque; left out where the foreground's files carry alpha
        background.mp4
        blended.mp4        left out where it is exactly foreground over background

Every layer has the same frames, height and width; a layer of one image stands still for as long as the others last.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ...atomic import new_folder, numbered
from ...errors import DatasetError, FrameError, VideoFileError
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, RGBA, THREE_TEXTS
from ...names import check_name
from ...plain_data import Text, as_record, read_json
from ...rates import read_rate
from ...rgba import over
from ...video.files import Footage, read_video
from ...video.frames import check_frames
from ...video.images import write_png_sequence

RECORD = "clip.json"
_TRIES = 1000  # numbers that other processes may take meanwhile
_FOR_A_BLEND = (FOREGROUND, ALPHA, BACKGROUND)


@dataclass(frozen=True)
class LayerClip:
    """One layered clip in memory.

    Args:
        name: for messages and file names.
        layers: straight pixels by layer, [N, 3, H, W], alpha [N, 1, H, W]; all of one size.
        prompts: one for each layer that a prompt can speak of.
        fps: exact.
    """

    name: str
    layers: Mapping[str, Tensor]
    prompts: Mapping[str, str]
    fps: Fraction = Fraction(8)

    def check(self, needed: Sequence[str] = RGBA) -> LayerClip:
        """Raises DatasetError, naming the clip, unless all needed layers are there, alike in size, and have prompts."""
        if missing := [name for name in needed if name not in self.layers]:
            raise DatasetError(
                f"clip {self.name}: layer {', '.join(missing)} is missing, expected {', '.join(needed)}"
            )
        for name, pixels in self.layers.items():
            try:
                check_frames(
                    pixels,
                    f"clip {self.name}, {name}",
                    channels=1 if name == ALPHA else 3,
                    fewest=1,
                )
            except FrameError as error:
                raise DatasetError(str(error)) from error
        shapes = {name: (len(p), p.shape[2], p.shape[3]) for name, p in self.layers.items()}
        if len(set(shapes.values())) > 1:
            met = ", ".join(f"{name} {n} frames of {w} x {h}" for name, (n, h, w) in shapes.items())
            raise DatasetError(
                f"clip {self.name}: layers differ ({met}), expected the same frames, width and height"
            )
        if empty := [
            name
            for name in needed
            if name in THREE_TEXTS and not self.prompts.get(name, "").strip()
        ]:
            raise DatasetError(
                f"clip {self.name}: the prompt for {', '.join(empty)} is empty, expected a description"
            )
        return self

    def complete(self, needed: Sequence[str] = RGBA) -> LayerClip:
        """The clip with every still layer held as long as the others last, and a missing blend
        composed if it is needed.

        Raises:
            DatasetError: as ``check``; or the blend cannot be composed, because a layer for that is missing.
        """
        clip = replace(self, layers=_hold_stills(self.layers))
        if BLENDED in needed and BLENDED not in clip.layers:
            layers = clip.check(_FOR_A_BLEND).layers
            front, alpha, behind = (layers[name] for name in _FOR_A_BLEND)
            clip = replace(clip, layers={**clip.layers, BLENDED: over(front, alpha, behind)})
        return clip.check(needed)


class ClipFolder:
    """A dataset folder; clips are read when asked for.

    Args:
        folder: of clip folders.
        needed: layers that every clip must have; ``blended`` is composed where it has no files.

    Raises:
        DatasetError: no clips, or a clip whose record or layers are not as they must be; every clip is looked at.
    """

    def __init__(self, folder: Path, needed: Sequence[str] = RGBA) -> None:
        self.folder, self.needed = folder, tuple(needed)
        if not os.path.isdir(folder):
            raise DatasetError(f"{folder} is not there, expected a dataset folder")
        self.clips = sorted(
            p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")
        )
        if not self.clips:
            raise DatasetError(f"{folder} holds no clips, expected folders with a {RECORD} each")
        self.records = [read_record(clip) for clip in self.clips]
        for clip, record in zip(self.clips, self.records):
            self._check_files(clip, record)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> LayerClip:
        """Raises DatasetError if a file is damaged or the layers do not fit each other."""
        clip, (prompts, fps) = self.clips[index], self.records[index]
        layers: dict[str, Tensor] = {}
        for name in self._read_names(clip):
            if name in layers or (path := find_layer(clip, name)) is None:
                continue
            footage = _read(path)
            layers[name] = _as_layer(footage, name)
            if name == FOREGROUND and footage.alpha is not None and find_layer(clip, ALPHA) is None:
                layers[ALPHA] = footage.alpha
        return LayerClip(str(clip), layers, prompts, fps).complete(self.needed)

    def _read_names(self, clip: Path) -> Sequence[str]:
        composed = BLENDED in self.needed and find_layer(clip, BLENDED) is None
        return tuple(dict.fromkeys((*self.needed, *(_FOR_A_BLEND if composed else ()))))

    def fingerprint(self) -> str:
        """Changes whenever a file of the dataset does."""
        return fingerprint_files(
            self.folder, (p for clip in self.clips for p in clip.rglob("*")), self.needed
        )

    def _check_files(self, clip: Path, record: tuple[Mapping[str, str], Fraction]) -> None:
        for name in self.needed:
            optional = name == BLENDED or (
                name == ALPHA and find_layer(clip, FOREGROUND) is not None
            )
            if find_layer(clip, name) is None and not optional:
                raise DatasetError(
                    f"clip {clip}: layer {name} is missing, expected {clip / name}/ with "
                    f"images or {name}.mov, .mp4, .png, ..."
                )
        if empty := [
            name
            for name in self.needed
            if name in THREE_TEXTS and not record[0].get(name, "").strip()
        ]:
            raise DatasetError(
                f"clip {clip}: the prompt for {', '.join(empty)} is empty, expected a description in {RECORD}"
            )


def fingerprint_files(folder: Path, paths: Iterable[Path], facts: object) -> str:
    """Hash of the names, sizes and times of the files among paths below a folder, and of further plain facts."""
    files = sorted(
        (str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns)
        for p in paths
        if p.is_file()
    )
    return hashlib.sha256(json.dumps([files, facts], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Record:
    """``clip.json`` as it stands."""

    __pydantic_config__ = {"extra": "forbid"}

    prompts: dict[Literal[THREE_TEXTS], Text]
    fps: Any = 8


def read_record(clip: Path) -> tuple[dict[str, str], Fraction]:
    """Prompts and rate of a clip folder; raises DatasetError naming the file."""
    path = clip / RECORD
    record = as_record(_Record, read_json(path, DatasetError), str(path), DatasetError)
    return record.prompts, read_rate(record.fps, f"{path}: fps", DatasetError)


def find_layer(clip: Path, name: str) -> Path | None:
    """The folder of images or the one file of a layer, None if there is none.

    Raises:
        DatasetError: if there are several.
    """
    found = [
        p
        for p in clip.iterdir()
        if (p.is_dir() and p.name == name) or (p.is_file() and p.stem == name)
    ]
    if len(found) > 1:
        raise DatasetError(
            f"clip {clip}: got {', '.join(sorted(p.name for p in found))}, expected one source for layer {name}"
        )
    return found[0] if found else None


def write_clip(dataset: Path, clip: LayerClip, needed: Sequence[str] = RGBA) -> Path:
    """Append a clip to a dataset as 8-bit PNGs; the folder appears whole or not at all.

    Returns:
        The new folder, ``{clip.name}_{number}`` with the first number that no process has taken.

    Raises:
        DatasetError: the clip is not as it must be, its name is none, or the folder cannot be written.
    """
    clip = clip.complete(needed)
    name = check_name(clip.name, "clip name", DatasetError)
    try:
        first, *others = islice(numbered(dataset, name, _next_number(dataset, name)), _TRIES)
        with new_folder(first, others, DatasetError) as new:
            for layer, pixels in clip.layers.items():
                write_png_sequence(new.partial / layer, pixels.expand(-1, 3, -1, -1), None)
            record = {
                "prompts": dict(clip.prompts),
                "fps": f"{clip.fps.numerator}/{clip.fps.denominator}",
            }
            (new.partial / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        return new.path
    except (OSError, VideoFileError) as error:
        raise DatasetError(f"a clip cannot be added to {dataset}: {error}") from error


def _next_number(dataset: Path, name: str) -> int:
    """One more than the largest number there is; later ones are tried when another process takes it."""
    if not os.path.isdir(dataset):
        return 1
    pattern = re.compile(re.escape(name) + r"_(\d{1,9})", re.IGNORECASE)
    matches = (pattern.fullmatch(path.name) for path in dataset.iterdir())
    return max((int(match[1]) for match in matches if match), default=0) + 1


def _read(path: Path) -> Footage:
    try:
        return read_video(path)
    except VideoFileError as error:
        raise DatasetError(str(error)) from error


def _as_layer(footage: Footage, name: str) -> Tensor:
    if name != ALPHA:
        return footage.colour
    return footage.colour.mean(1, keepdim=True)


def _hold_stills(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    longest = max((len(p) for p in layers.values()), default=1)
    return {
        name: p.expand(longest, -1, -1, -1).contiguous()
        if len(p) == 1 < longest and p.ndim == 4
        else p
        for name, p in layers.items()
    }
