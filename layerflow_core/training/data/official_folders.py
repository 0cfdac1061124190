"""The official release's own dataset folders, read as layered clips (official release, data reader).

    YoutubeVOS:  JPEGImages/<video>/<frame>.jpg, impainting/<video>/..., mask/<video>/...   and a json
    DAVIS:       <video>/bl/*.png, <video>/mask/*.png                                       and a json

The json: {"videos": {video: {"objects": {id: {"frames": [names]}}, "fg_prompt", "bg_prompt", "bl_prompt"}}}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ...errors import DatasetError, VideoFileError
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ...video.files import read_pictures
from ...video.frames import resize
from .clip_folder import LayerClip, fingerprint_files

_PROMPT_FIELDS = {FOREGROUND: "fg_prompt", BACKGROUND: "bg_prompt", BLENDED: "bl_prompt"}
_MOST_FRAMES = 64  # the official reader never looks further


@dataclass(frozen=True)
class FolderLayout:
    """A row: where a video's pictures lie. The official DAVIS branch takes the footage itself for the background."""

    blended: Callable[[Path, str], Path]
    mask: Callable[[Path, str], Path]
    background: Callable[[Path, str], Path]


FOLDER_LAYOUTS: Mapping[str, FolderLayout] = {
    "youtubevos": FolderLayout(
        lambda root, video: root / "JPEGImages" / video, lambda root, video: root / "mask" / video, lambda root, video: root / "impainting" / video
    ),
    "davis": FolderLayout(lambda root, video: root / video / "bl", lambda root, video: root / video / "mask", lambda root, video: root / video / "bl"),
}


class OfficialFolder:
    """Clips of an official folder.

    Args:
        root: folder of the pictures.
        record: the json.
        kind: row of ``FOLDER_LAYOUTS``.

    Raises:
        DatasetError: the json or a folder is not as it must be.
    """

    def __init__(self, root: Path, record: Path, kind: str) -> None:
        if kind not in FOLDER_LAYOUTS:
            raise DatasetError(f"unknown folder layout {kind!r} met, expected one of {', '.join(FOLDER_LAYOUTS)}")
        self.root, self.layout, self.videos = root, FOLDER_LAYOUTS[kind], _read_videos(record)
        for video, entry in self.videos.items():
            self._check(video, entry, record)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> LayerClip:
        video, entry = list(self.videos.items())[index]
        names = _frame_names(entry)[:_MOST_FRAMES]
        blended = self._pictures(self.layout.blended(self.root, video), names)
        mask = self._pictures(self.layout.mask(self.root, video), names).mean(1, keepdim=True)
        background = self._pictures(self.layout.background(self.root, video), names)
        prompts = {layer: entry[field] for layer, field in _PROMPT_FIELDS.items()}
        layers = {FOREGROUND: blended, ALPHA: resize(mask, *blended.shape[2:]), BACKGROUND: background, BLENDED: blended}
        return LayerClip(str(self.root / video), layers, prompts, Fraction(8)).check()

    def fingerprint(self) -> str:
        return fingerprint_files(self.root, self.root.rglob("*"), self.videos)

    def _check(self, video: str, entry: Mapping, record: Path) -> None:
        for layer, field in _PROMPT_FIELDS.items():
            if not isinstance(entry.get(field), str) or not entry[field].strip():
                raise DatasetError(f"{record}, video {video}: {field} is missing or empty, expected the {layer}'s description")
        for folder in (self.layout.blended(self.root, video), self.layout.mask(self.root, video), self.layout.background(self.root, video)):
            if not folder.is_dir():
                raise DatasetError(f"{record}, video {video}: {folder} is not there, expected its pictures")
        _frame_names(entry, f"{record}, video {video}")

    def _pictures(self, folder: Path, names: list[str]) -> Tensor:
        by_stem = {p.stem: p for p in folder.iterdir()}
        if missing := [name for name in names if name not in by_stem]:
            raise DatasetError(f"{folder}: frame {missing[0]} is missing, expected {len(names)} frames")
        try:
            return read_pictures([by_stem[name] for name in names]).colour
        except VideoFileError as error:
            raise DatasetError(str(error)) from error


def _read_videos(record: Path) -> dict[str, dict]:
    try:
        return json.loads(record.read_text())["videos"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{record} cannot be read ({error!r}), expected {{'videos': {{name: ...}}}}") from error


def _frame_names(entry: Mapping, where: str = "") -> list[str]:
    try:
        names = next(iter(entry["objects"].values()))["frames"]
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise DatasetError(f"{where}: no objects with frames met, expected {{'objects': {{id: {{'frames': [names]}}}}}}") from error
    if not names:
        raise DatasetError(f"{where}: an empty list of frames met")
    return [Path(name).stem for name in names]
