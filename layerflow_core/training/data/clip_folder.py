"""Datasets of layered clips on disk.

A dataset is a folder of clips; a clip is a set of layers with prompts in its ``layers.json``:

    my_dataset/
      dog_00001/
        layers.json        {"files": {"foreground": "foreground", ...}, "fps": "24000/1001",
                            "prompts": {"foreground": "...", "background": "...", "blended": "..."}, ...}
        foreground/        images with alpha, or foreground.mov, foreground.webm, ...
        background/
        blended/           left out where it is exactly foreground over background

Folders of the older ``clip.json``, with an ``alpha`` of its own, are clips too. Every layer has the same frames, height
and width; a layer of one image stands still for as long as the others last.

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

from torch import Tensor

from ...atomic import numbered
from ...errors import DatasetError, FrameError, VideoFileError
from ...layer_files.record import RECORD
from ...layer_files.saving import SaveOptions, save_layers
from ...layers import Foreground, LayerVideo
from ...layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, RGBA, THREE_TEXTS
from ...matching import describe, hold_stills
from ...names import check_name
from ...rgba import over
from ...video.frames import check_frames
from .stored_clip import StoredClip, open_clip

FOR_A_BLEND = (FOREGROUND, ALPHA, BACKGROUND)
"""Layers that a missing blend is composed from."""

_LOSSLESS = SaveOptions("PNG 8 bit", "PNG 8 bit")
_TRIES = 1000  # numbers that other processes may take meanwhile


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
        missing = [name for name in needed if name not in self.layers]
        if missing:
            raise DatasetError(
                f"clip {self.name}: layer {', '.join(missing)} is missing, expected {', '.join(needed)}"
            )
        for name, pixels in self.layers.items():
            self._check_pixels(name, pixels)
        shapes = {(len(pixels), *pixels.shape[2:]) for pixels in self.layers.values()}
        if len(shapes) > 1:
            got = ", ".join(f"{name} {describe(pixels)}" for name, pixels in self.layers.items())
            raise DatasetError(
                f"clip {self.name}: layers differ ({got}), expected the same frames, width and height"
            )
        empty = missing_prompts(self.prompts, needed)
        if empty:
            raise DatasetError(
                f"clip {self.name}: the prompt for {', '.join(empty)} is empty, expected a description"
            )
        return self

    def _check_pixels(self, name: str, pixels: Tensor) -> None:
        channels = 1 if name == ALPHA else 3
        try:
            check_frames(pixels, f"clip {self.name}, {name}", channels, fewest=1)
        except FrameError as error:
            raise DatasetError(str(error)) from error

    def complete(self, needed: Sequence[str] = RGBA) -> LayerClip:
        """The clip with every still layer held as long as the others last, and a missing blend
        composed if it is needed.

        Raises:
            DatasetError: as ``check``; or the blend cannot be composed, because a layer for that is missing.
        """
        clip = replace(self, layers=hold_stills(self.layers))
        if BLENDED in needed and BLENDED not in clip.layers:
            layers = clip.check(FOR_A_BLEND).layers
            front, alpha, behind = (layers[name] for name in FOR_A_BLEND)
            clip = replace(clip, layers={**clip.layers, BLENDED: over(front, alpha, behind)})
        return clip.check(needed)


def missing_prompts(prompts: Mapping[str, str], needed: Sequence[str]) -> list[str]:
    """Needed layers that a prompt can speak of and that have none."""
    described = [name for name in needed if name in THREE_TEXTS]
    return [name for name in described if not prompts.get(name, "").strip()]


class ClipFolder:
    """A dataset folder; clips are read when asked for.

    Args:
        folder: of clip folders, or one clip alone.
        needed: layers that every clip must have; ``blended`` is composed where it has no files.

    Raises:
        DatasetError: no clips, or a clip whose record or layers are not as they must be; every clip is looked at.
    """

    def __init__(self, folder: Path, needed: Sequence[str] = RGBA) -> None:
        self.folder = folder
        self.needed = tuple(needed)
        self.clips = _find_clips(folder)
        self.stored = [open_clip(clip) for clip in self.clips]
        for clip, stored in zip(self.clips, self.stored):
            self._check(clip, stored)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> LayerClip:
        """Raises DatasetError if a file is damaged or the layers do not fit each other."""
        clip = self.clips[index]
        stored = self.stored[index]
        names = self.needed
        if BLENDED in names and not stored.find(BLENDED):
            names = tuple(dict.fromkeys((*names, *FOR_A_BLEND)))
        layers = stored.read(names)
        return LayerClip(str(clip), layers, stored.prompts, stored.fps).complete(self.needed)

    def fingerprint(self) -> str:
        """Changes whenever a file of the dataset does."""
        paths = [path for clip in self.clips for path in clip.rglob("*")]
        return fingerprint_files(self.folder, paths, self.needed)

    def _check(self, clip: Path, stored: StoredClip) -> None:
        missing = [name for name in self.needed if not stored.find(name) and name != BLENDED]
        if missing:
            raise DatasetError(
                f"clip {clip}: layer {missing[0]} is missing, expected files of it that {stored.record.name} names; "
                f"beside a clip.json, {clip / missing[0]}/ with images or {missing[0]}.mov, .mp4, .png, ..."
            )
        empty = missing_prompts(stored.prompts, self.needed)
        if empty:
            example = ", ".join(f'"{name}": "..."' for name in empty)
            raise DatasetError(
                f"clip {clip}: the prompt for {', '.join(empty)} is empty or missing, expected a description; "
                f'write "prompts": {{{example}}} into {stored.record}'
            )


def _find_clips(folder: Path) -> list[Path]:
    """Folders of clips in the order of their names; raises DatasetError if there is none."""
    if not os.path.isdir(folder):
        raise DatasetError(f"{folder} is not there, expected a dataset folder")
    if os.path.isfile(folder / RECORD):
        return [folder]
    folders = [path for path in folder.iterdir() if path.is_dir()]
    clips = sorted(path for path in folders if not path.name.startswith("."))
    if not clips:
        raise DatasetError(f"{folder} holds no clips, expected folders with a {RECORD} each")
    return clips


def fingerprint_files(folder: Path, paths: Iterable[Path], facts: object) -> str:
    """Hash of the names, sizes and times of the files among paths below a folder, and of further plain facts."""
    files = sorted(
        (str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns)
        for p in paths
        if p.is_file()
    )
    return hashlib.sha256(json.dumps([files, facts], sort_keys=True).encode()).hexdigest()


def write_clip(dataset: Path, clip: LayerClip, needed: Sequence[str] = RGBA) -> Path:
    """Append a clip to a dataset as a set of lossless PNGs of 8 bits; the folder appears whole or not at all.

    Returns:
        The new folder, ``{clip.name}_{number}`` with the first number that no process has taken.

    Raises:
        DatasetError: the clip is not as it must be, its name is none, or the folder cannot be written.
    """
    clip = clip.complete(needed)
    name = check_name(clip.name, "clip name", DatasetError)
    facts = {"prompts": dict(clip.prompts)}
    try:
        first, *others = islice(numbered(dataset, name, _next_number(dataset, name)), _TRIES)
        paths = save_layers(
            first, _as_layers(clip), _LOSSLESS, clip.fps, others=others, facts=facts
        )
    except (OSError, VideoFileError) as error:
        raise DatasetError(f"a clip cannot be added to {dataset}: {error}") from error
    return paths[-1].parent


def _as_layers(clip: LayerClip) -> LayerVideo:
    layers = clip.layers
    foregrounds = ()
    if FOREGROUND in layers:
        foregrounds = (Foreground(FOREGROUND, layers[FOREGROUND], layers.get(ALPHA)),)
    elif ALPHA in layers:
        raise DatasetError(f"clip {clip.name}: got alpha without foreground, expected both")
    return LayerVideo(foregrounds, layers.get(BACKGROUND), layers.get(BLENDED), float(clip.fps))


def _next_number(dataset: Path, name: str) -> int:
    """One more than the largest number there is; later ones are tried when another process takes it."""
    if not os.path.isdir(dataset):
        return 1
    pattern = re.compile(re.escape(name) + r"_(\d{1,9})", re.IGNORECASE)
    matches = (pattern.fullmatch(path.name) for path in dataset.iterdir())
    return max((int(match[1]) for match in matches if match), default=0) + 1
