"""The official release's own dataset folders, read as layered clips (official release, data reader).

    YoutubeVOS:  JPEGImages/<video>/<frame>.jpg, impainting/<video>/..., mask/<video>/...   and a json
    DAVIS:       <video>/bl/*.png, <video>/mask/*.png                                       and a json

The json: {"videos": {video: {"objects": {id: {"frames": [names]}}, "fg_prompt", "bg_prompt", "bl_prompt"}}}.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Annotated

from annotated_types import Len
from torch import Tensor

from ...errors import DatasetError, VideoFileError
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ...plain_data import Name, Text, as_record, read_json
from ...video.files import read_images
from ...video.frames import resize
from .clip_folder import LayerClip, fingerprint_files

_PROMPT_FIELDS = {FOREGROUND: "fg_prompt", BACKGROUND: "bg_prompt", BLENDED: "bl_prompt"}
_MOST_FRAMES = 64  # the official reader never looks further


@dataclass(frozen=True)
class FolderLayout:
    """A row: where a video's images lie. The official DAVIS branch takes the footage itself for the background."""

    blended: Callable[[Path, str], Path]
    mask: Callable[[Path, str], Path]
    background: Callable[[Path, str], Path]


FOLDER_LAYOUTS: Mapping[str, FolderLayout] = {
    "youtubevos": FolderLayout(
        lambda root, video: root / "JPEGImages" / video,
        lambda root, video: root / "mask" / video,
        lambda root, video: root / "impainting" / video,
    ),
    "davis": FolderLayout(
        lambda root, video: root / video / "bl",
        lambda root, video: root / video / "mask",
        lambda root, video: root / video / "bl",
    ),
}


@dataclass(frozen=True)
class _Object:
    """Something masked, and the frames that it is in."""

    frames: Annotated[list[Name], Len(1, 100_000)]


@dataclass(frozen=True)
class _Video:
    """A video of the json; what else it says is not used."""

    objects: Annotated[dict[Name, _Object], Len(0, 1000)]
    fg_prompt: Text = ""
    bg_prompt: Text = ""
    bl_prompt: Text = ""

    @property
    def prompts(self) -> dict[str, str]:
        return {layer: getattr(self, field) for layer, field in _PROMPT_FIELDS.items()}


@dataclass(frozen=True)
class _Record:
    """The json."""

    videos: Annotated[dict[Name, _Video], Len(1, 1_000_000)]


class OfficialFolder:
    """Clips of an official folder.

    Args:
        root: folder of the images.
        record: the json.
        kind: key of ``FOLDER_LAYOUTS``.

    Raises:
        DatasetError: the json or a folder is not as it must be.
    """

    def __init__(self, root: Path, record: Path, kind: str) -> None:
        if kind not in FOLDER_LAYOUTS:
            raise DatasetError(
                f"got unknown folder layout {kind!r}, expected one of {', '.join(FOLDER_LAYOUTS)}"
            )
        self.root = root
        self.layout = FOLDER_LAYOUTS[kind]
        self.videos = as_record(
            _Record, read_json(record, DatasetError), str(record), DatasetError
        ).videos
        for name, video in self.videos.items():
            self._check(name, video, f"{record}, video {ascii(name)[1:-1]}")

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> LayerClip:
        name, video = list(self.videos.items())[index]
        frames = _frame_names(video)[:_MOST_FRAMES]
        blended = self._images(self.layout.blended(self.root, name), frames)
        mask = self._images(self.layout.mask(self.root, name), frames).mean(1, keepdim=True)
        background = self._images(self.layout.background(self.root, name), frames)
        layers = {
            FOREGROUND: blended,
            ALPHA: resize(mask, *blended.shape[2:]),
            BACKGROUND: background,
            BLENDED: blended,
        }
        return LayerClip(str(self.root / name), layers, video.prompts, Fraction(8)).check()

    def fingerprint(self) -> str:
        facts = {name: [video.prompts, _frame_names(video)] for name, video in self.videos.items()}
        return fingerprint_files(self.root, self.root.rglob("*"), facts)

    def _check(self, name: str, video: _Video, where: str) -> None:
        if not _is_folder_name(name):
            raise DatasetError(
                f"{where}: expected the name of a folder, without path separators and drives"
            )
        for layer, text in video.prompts.items():
            if not text.strip():
                raise DatasetError(
                    f"{where}: {_PROMPT_FIELDS[layer]} is missing or empty, expected the {layer}'s description"
                )
        for find in (self.layout.blended, self.layout.mask, self.layout.background):
            folder = find(self.root, name)
            if not os.path.isdir(folder):
                raise DatasetError(f"{where}: {folder} is not there, expected its images")
        if not video.objects:
            raise DatasetError(
                f"{where}: got no objects with frames, expected {{'objects': {{id: {{'frames': [names]}}}}}}"
            )

    def _images(self, folder: Path, names: list[str]) -> Tensor:
        try:
            by_stem = {path.stem: path for path in folder.iterdir()}
        except OSError as error:
            raise DatasetError(f"{folder} cannot be read: {error}") from error
        missing = [name for name in names if name not in by_stem]
        if missing:
            raise DatasetError(
                f"{folder}: frame {ascii(missing[0])[1:-1]} is missing, expected {len(names)} frames"
            )
        try:
            return read_images([by_stem[name] for name in names]).colour
        except VideoFileError as error:
            raise DatasetError(str(error)) from error


def _is_folder_name(name: str) -> bool:
    """Whether it leads nowhere but into the folder it is joined to, on any system."""
    return name not in ("", ".", "..") and PureWindowsPath(name).name == name


def _frame_names(video: _Video) -> list[str]:
    first = next(iter(video.objects.values()))
    return [Path(name).stem for name in first.frames]
