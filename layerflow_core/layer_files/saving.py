"""Sets of layers out: one record, whatever the format of its files.

Legend: N frames, C channels, H height, W width; 0..1, straight colour unless said, alpha 1 = opaque.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from ..atomic import new_folder, replacing
from ..errors import FrameError, VideoFileError
from ..layers import LayerVideo
from ..layout import BACKGROUND, BLENDED, FOREGROUND
from ..names import FileNames
from ..rates import exact_rate, read_rate
from ..video import formats
from ..video.formats import LAYERED, WITH_ALPHA, WRITTEN_ENDINGS, ClipWriter, LayeredFormat
from ..video.listing import frame_name
from .extras import EXTRAS
from .record import RECORD, RESERVED, RESIDUAL, describe, shape_of
from .stored_pixels import ALPHA_KINDS, AS_IT_IS, BIASED, STRAIGHT, bias, foreground_frames

NONE = "none"
OPAQUE: Mapping[str, ClipWriter | None] = {**formats.OPAQUE, NONE: None}
"""By name, how layers without alpha are saved."""
FORMATS = (*WITH_ALPHA, *LAYERED)
"""By name, how layers with alpha are saved, or all layers together."""

_FRAMES = "frames"  # folder of a format that holds every layer
_DOCUMENT = "layers"  # name of a single file that does
_ENDINGS = WRITTEN_ENDINGS | {Path(RECORD).suffix}
_WRITTEN_STEMS = {
    FOREGROUND,
    *RESERVED,
    _FRAMES,
    _DOCUMENT,
    *(stem for extra in EXTRAS.values() for stem in extra.stems),
}


@dataclass(frozen=True)
class SaveOptions:
    """How a set is saved.

    Args:
        format: of the foregrounds, of ``FORMATS``; some hold every layer.
        opaque: of all other layers, key of ``OPAQUE``.
        alpha: whether colour is ``straight`` or ``premultiplied`` in the foregrounds' files, where the format has both.
        frame: of a format that holds one.
        extras: keys of ``EXTRAS``, files beside the layers.

    Raises:
        VideoFileError: a value is unknown.
    """

    format: str = FORMATS[0]
    opaque: str = "H.264 (.mp4)"
    alpha: str = STRAIGHT
    frame: int = 0
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_known(self.format, FORMATS, "format")
        _check_known(self.opaque, OPAQUE, "opaque format")
        _check_known(self.alpha, ALPHA_KINDS, "kind of alpha")
        for extra in self.extras:
            _check_known(extra, EXTRAS, "extra")

    @property
    def layered(self) -> LayeredFormat | None:
        """The format, where it holds every layer."""
        return LAYERED.get(self.format)

    @property
    def is_video(self) -> bool:
        """Whether each foreground is one file, which not every program reads."""
        return not self.layered and bool(WITH_ALPHA[self.format].ending)

    @property
    def stored_alpha(self) -> str:
        """What colour is in the foregrounds' files."""
        return STRAIGHT if self.layered and self.layered.is_straight else self.alpha


def _check_known(value: str, known: Iterable[str], what: str) -> None:
    if value not in known:
        raise VideoFileError(f"got unknown {what} {value!r}, expected one of {', '.join(known)}")


def save_layers(
    folder: Path,
    layers: LayerVideo,
    how: SaveOptions,
    fps: float | Fraction | None = None,
    metadata: Mapping[str, Any] | None = None,
    others: Iterable[Path] = (),
    facts: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a new folder with the layers and ``layers.json``, whole or not at all.

    Foregrounds are called in the set as their files are, see ``named_like_files``.

    Args:
        fps: exact rate where one is known; else the layers' own.
        metadata: written into every file that can hold them, and into the record.
        others: folders beside it to take when it is there already, also when another process was faster.
        facts: written into the record alone.

    Returns:
        The folder's files and folders, the record last.

    Raises:
        FrameError: layers of different length or size, or a frame that is not there.
        VideoFileError: all folders are there already, or none can be written.
    """
    saving = _Saving(layers, how, fps, metadata, facts)
    with new_folder(folder, others) as new:
        names = saving.write(new.partial)
    return [new.path / name for name in names]


def replace_layers(
    folder: Path,
    layers: LayerVideo,
    how: SaveOptions,
    fps: float | Fraction | None = None,
    metadata: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[Path]:
    """As ``save_layers``, into a folder that may be there: files of the same names are replaced, each at once.

    The record comes last.
    """
    return [folder / name for name in _Saving(layers, how, fps, metadata, facts).write(folder)]


def would_replace(folder: Path, path: Path) -> bool:
    """Whether ``replace_layers`` might write over a file or folder that is there."""
    place = Path(os.path.realpath(path))
    root = Path(os.path.realpath(folder))
    if root not in place.parents:
        return False
    inside = place.relative_to(root).parts[0]
    return Path(inside).stem.casefold() in _WRITTEN_STEMS


def named_like_files(layers: LayerVideo, reserved: Iterable[str] = ()) -> LayerVideo:
    """The same layers, each foreground with a name that a file can have and that no other one has.

    Args:
        reserved: names that the folder needs for something else.
    """
    names = FileNames((*RESERVED, RECORD, *reserved))
    foregrounds = tuple(
        replace(layer, name=names.claim(_without_ending(layer.name)))
        for layer in layers.foregrounds
    )
    return replace(layers, foregrounds=foregrounds)


def _without_ending(name: str) -> str:
    """A name that is no other layer's file: the folder of a layer ``background.mp4`` would be the background's."""
    stem, ending = os.path.splitext(name.rstrip(" ."))
    return f"{stem}_{ending[1:]}" if ending.lower() in _ENDINGS else name


class _Saving:
    """Layers on their way into a folder."""

    def __init__(
        self,
        layers: LayerVideo,
        how: SaveOptions,
        fps: float | Fraction | None,
        metadata: Mapping[str, Any] | None,
        facts: Mapping[str, Any] | None,
    ) -> None:
        self._count, _, _ = shape_of(layers)
        reserved = [stem for name in how.extras for stem in EXTRAS[name].stems]
        self._layers = named_like_files(layers, reserved)
        self._how = how
        rate = layers.fps if fps is None else fps
        self._rate = exact_rate(read_rate(rate, "fps", VideoFileError))
        self._metadata = dict(metadata or {})
        self._facts = {**(facts or {}), **self._metadata}

    def write(self, folder: Path) -> list[str]:
        """All files into a folder; returns their names, each once, the record last."""
        form = self._how.layered
        if form is None:
            files = dict(self._write_apart(folder))
        else:
            files = self._write_together(folder, form)
        more: dict[str, str] = {}
        for name in self._how.extras:
            more |= EXTRAS[name].write(folder, self._layers, self._rate, self._how.stored_alpha)
        for name in {*files.values(), *(Path(file).parts[0] for file in more.values())}:
            _remove_stale(folder / name, self._count)
        record = self._describe(files, more)
        with replacing(folder / RECORD) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n")
        single = [name for name in more.values() if "%" not in name]
        return [*dict.fromkeys(files.values()), *single, RECORD]

    def _describe(self, files: Mapping[str, str], more: Mapping[str, str]) -> dict[str, Any]:
        form = self._how.layered
        is_exact = form is not None and form.keeps_residual
        frames = 1 if form is not None and form.is_single else None
        record = describe(
            self._layers,
            self._rate,
            self._how.stored_alpha,
            files,
            frames,
            AS_IT_IS if is_exact else BIASED,
        )
        if more:
            record["more_files"] = dict(more)
        return record | {key: value for key, value in self._facts.items() if key not in record}

    def _write_apart(self, folder: Path) -> Iterator[tuple[str, str]]:
        """By layer, the name of its file or folder."""
        alpha = self._how.alpha
        with_alpha = WITH_ALPHA[self._how.format]
        for layer in self._layers.foregrounds:
            frames = foreground_frames(layer, alpha)
            metadata = {**self._metadata, "alpha": alpha}
            path = with_alpha.save(folder / layer.name, frames, self._rate, metadata)
            yield layer.name, path.name
        opaque = OPAQUE[self._how.opaque]
        if opaque is None:
            return
        for name, clip in _opaque_layers(self._layers).items():
            frames = map(bias, clip) if name == RESIDUAL else clip
            path = opaque.save(folder / name, frames, self._rate, self._metadata)
            yield name, path.name

    def _write_together(self, folder: Path, form: LayeredFormat) -> dict[str, str]:
        """By layer, the name of the file or folder that holds all."""
        if form.is_single:
            layers = _frame_of(self._layers, self._how.frame)
            name = _DOCUMENT + form.ending
            paths = [folder / name]
        else:
            layers = self._layers
            name = _FRAMES
            numbers = range(self._count)
            paths = [folder / name / frame_name(number, form.ending) for number in numbers]
        alpha = self._how.stored_alpha
        foregrounds = {layer.name: foreground_frames(layer, alpha) for layer in layers.foregrounds}
        opaque = _opaque_layers(layers)
        if not form.keeps_residual:
            opaque.pop(RESIDUAL, None)
        clips = {**foregrounds, **opaque}
        for path, images in zip(paths, zip(*clips.values())):
            frame = dict(zip(clips, images))
            above = {key: frame[key] for key in foregrounds}
            others = {key: frame[key] for key in opaque}
            form.write(path, above, others, self._rate, {**self._metadata, "alpha": alpha})
        return dict.fromkeys(clips, name)


def _opaque_layers(layers: LayerVideo) -> dict[str, Tensor]:
    clips = {BACKGROUND: layers.background, BLENDED: layers.blended, RESIDUAL: layers.residual}
    return {name: clip for name, clip in clips.items() if clip is not None}


def _frame_of(layers: LayerVideo, number: int) -> LayerVideo:
    """One frame of all layers; raises FrameError if it is not there."""
    count, _, _ = shape_of(layers)
    if not 0 <= number < count:
        raise FrameError(
            f"got frame {number}, these layers have {count}: expected 0 to {count - 1}"
        )
    chosen = slice(number, number + 1)
    foregrounds = tuple(
        replace(layer, colour=layer.colour[chosen], alpha=layer.opacity[chosen])
        for layer in layers.foregrounds
    )
    opaque = {name: clip[chosen] for name, clip in _opaque_layers(layers).items()}
    return replace(layers, foregrounds=foregrounds, **opaque)


def _remove_stale(folder: Path, count: int) -> None:
    """Frames of a longer set that was there before."""
    for path in folder.glob("[0-9][0-9][0-9][0-9][0-9].*"):
        if int(path.stem) >= count:
            path.unlink()
