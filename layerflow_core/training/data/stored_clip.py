"""A layered clip as it lies on disk: a set of layers with prompts, or a folder of the older ``clip.json``.

Legend: N frames, H height, W width; 0..1, straight colour, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from ...errors import DatasetError, FrameError, VideoFileError
from ...layer_files.loading import load_set
from ...layer_files.record import RECORD, SetRecord, read_set
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, THREE_TEXTS
from ...plain_data import Text, as_record, read_json
from ...rates import read_rate
from ...video.files import Footage, read_video

OLD_RECORD = "clip.json"


class StoredClip(Protocol):
    """One clip of a dataset folder.

    Args:
        record: the file that says what it is.
        prompts: by layer.
    """

    record: Path
    prompts: Mapping[str, str]
    fps: Fraction

    def find(self, name: str) -> bool:
        """Whether there is a file for a layer; raises DatasetError if there are several."""

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """Of these layers all that are there, [N, 3, H, W], alpha [N, 1, H, W].

        Raises:
            DatasetError: a file is damaged, or the layers do not fit each other.
        """


def open_clip(folder: Path) -> StoredClip:
    """A clip's folder; raises DatasetError naming the record if it is damaged, or if there is none."""
    if (folder / RECORD).is_file():
        return SavedSet(folder / RECORD)
    if (folder / OLD_RECORD).is_file():
        return LayerFolders(folder / OLD_RECORD)
    raise DatasetError(
        f"{folder} has no {RECORD}, expected a folder that SaveLayers, CollectLayerClip or `layerflow` wrote, "
        f"or one with the older {OLD_RECORD}"
    )


class SavedSet:
    """A folder with ``layers.json``, as every clip is written today.

    Args:
        record: the file.

    Raises:
        DatasetError: it is damaged, or does not name one foreground at most.
    """

    def __init__(self, record: Path) -> None:
        self.record = record
        try:
            self._set = read_set(record)
        except VideoFileError as error:
            raise DatasetError(str(error)) from error
        if len(self._set.foregrounds) > 1:
            raise DatasetError(
                f"{record} names the foregrounds {', '.join(self._set.foregrounds)}, expected one for training; "
                "save each of them over its own background"
            )
        self.fps = self._set.fps
        self.prompts = _read_prompts(self._set, record)

    def find(self, name: str) -> bool:
        if name in (FOREGROUND, ALPHA):
            return bool(self._set.foregrounds)
        return name in self._set.files

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        of_foreground = {FOREGROUND, ALPHA} & set(names)
        wanted = {name for name in (BACKGROUND, BLENDED) if name in names}
        if of_foreground:
            wanted |= set(self._set.foregrounds)
        try:
            layers = load_set(self._set, only=wanted)
        except (FrameError, VideoFileError) as error:
            raise DatasetError(f"clip {self.record.parent}: {error}") from error
        found = {BACKGROUND: layers.background, BLENDED: layers.blended}
        for layer in layers.foregrounds:
            found |= {FOREGROUND: layer.colour, ALPHA: layer.opacity}
        return {name: found[name] for name in names if found.get(name) is not None}


def _read_prompts(record: SetRecord, path: Path) -> dict[str, str]:
    """Prompts by layer; none where the record has none."""
    if record.prompts is None:
        return {}
    kind = dict[Literal[THREE_TEXTS], Text]
    return as_record(kind, record.prompts, f"{path}: prompts", DatasetError)


@dataclass(frozen=True)
class _OldRecord:
    """``clip.json`` as it stands."""

    __pydantic_config__ = {"extra": "forbid"}

    prompts: dict[Literal[THREE_TEXTS], Text]
    fps: Any = 8


class LayerFolders:
    """A folder with ``clip.json``, and for each layer a folder of images or one file of its name.

    Alpha is a layer of its own there, white where opaque, or within the foreground's files.

    Args:
        record: the file.

    Raises:
        DatasetError: it is damaged.
    """

    def __init__(self, record: Path) -> None:
        self.record = record
        written = as_record(_OldRecord, read_json(record, DatasetError), str(record), DatasetError)
        self.prompts = written.prompts
        self.fps = read_rate(written.fps, f"{record}: fps", DatasetError)

    def find(self, name: str) -> bool:
        if name == ALPHA and self._path(ALPHA) is None:
            return self._path(FOREGROUND) is not None  # whose files may carry it
        return self._path(name) is not None

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        layers: dict[str, Tensor] = {}
        for name in names:
            path = self._path(name)
            if path is None or name in layers:
                continue
            footage = self._read(path)
            layers[name] = footage.colour.mean(1, keepdim=True) if name == ALPHA else footage.colour
            has_own_alpha = footage.alpha is not None and self._path(ALPHA) is None
            if name == FOREGROUND and has_own_alpha:
                layers[ALPHA] = footage.alpha
        return layers

    def _path(self, name: str) -> Path | None:
        """The folder of images or the one file of a layer; raises DatasetError if there are several."""
        folder = self.record.parent
        found = []
        for path in folder.iterdir():
            is_folder = path.is_dir() and path.name == name
            is_file = path.is_file() and path.stem == name
            if is_folder or is_file:
                found.append(path)
        if len(found) > 1:
            names = ", ".join(sorted(path.name for path in found))
            raise DatasetError(f"clip {folder}: got {names}, expected one source for layer {name}")
        return found[0] if found else None

    def _read(self, path: Path) -> Footage:
        try:
            return read_video(path)
        except VideoFileError as error:
            raise DatasetError(str(error)) from error
