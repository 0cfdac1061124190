"""Layers to files: what each format holds is a row.

Legend: N frames, C channels, H height, W width; 0..1, straight colour unless said, alpha 1 = opaque.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..atomic import new_folder
from ..errors import FrameError, VideoFileError
from ..layers import Foreground, LayerVideo
from ..layout import BACKGROUND, BLENDED
from ..names import FileNames
from ..rates import exact_rate, read_rate
from ..rgba import premultiply
from ..video.encodings import (
    H264,
    H265,
    PRORES_422,
    PRORES_4444,
    VP9_ALPHA,
    Encoding,
    with_alpha,
    write_stream,
)
from ..video.images import IMAGE_NUMBER, write_apng, write_exr, write_png_frames, write_psd
from ..video.webp import write_webp
from .record import (
    ALPHA_KINDS,
    BIAS,
    PREMULTIPLIED,
    RECORD,
    RESERVED,
    RESIDUAL,
    STRAIGHT,
    check_layers,
    describe,
)

# (path without suffix, frames [C, H, W], exact rate, metadata) -> the file or folder that was written
WriteClip = Callable[[Path, Iterable[Tensor], Fraction, Mapping[str, Any]], Path]


def _stream(form: Encoding) -> WriteClip:
    def write(
        path: Path, frames: Iterable[Tensor], fps: Fraction, metadata: Mapping[str, Any]
    ) -> Path:
        target = path.with_name(path.name + form.suffix)
        write_stream(target, frames, fps, form, metadata)
        return target

    return write


def _sequence(top: int) -> WriteClip:
    def write(
        path: Path, frames: Iterable[Tensor], fps: Fraction, metadata: Mapping[str, Any]
    ) -> Path:
        write_png_frames(
            lambda number: path / f"{IMAGE_NUMBER.format(number)}.png", frames, top, metadata
        )
        return path

    return write


def _moving(write_moving: Callable[..., None], suffix: str) -> WriteClip:
    def write(
        path: Path, frames: Iterable[Tensor], fps: Fraction, metadata: Mapping[str, Any]
    ) -> Path:
        target = path.with_name(path.name + suffix)
        write_moving(target, frames, fps, metadata)
        return target

    return write


# Formats of one clip. The first table's keep alpha.
WITH_ALPHA: Mapping[str, WriteClip] = {
    "ProRes 4444 (.mov)": _stream(PRORES_4444),
    "VP9 (.webm)": _stream(VP9_ALPHA),
    "PNG 8 bit": _sequence(255),
    "PNG 16 bit": _sequence(65535),
    "animated WebP": _moving(write_webp, ".webp"),
    "animated PNG": _moving(write_apng, ".png"),
}
OPAQUE: Mapping[str, WriteClip | None] = {
    "H.264 (.mp4)": _stream(H264),
    "H.265 (.mp4)": _stream(H265),
    "ProRes 422 HQ (.mov)": _stream(PRORES_422),
    "PNG 8 bit": _sequence(255),
    "PNG 16 bit": _sequence(65535),
    "none": None,
}
EXR, PSD = TOGETHER = ("OpenEXR (all layers)", "PSD (one frame, all layers)")
FORMATS = (*WITH_ALPHA, *TOGETHER)
_ENDINGS = {".mov", ".webm", ".webp", ".png", ".mp4", ".mkv", ".exr", ".psd", ".json"}


@dataclass(frozen=True)
class SaveOptions:
    """How a set is saved.

    Args:
        format: of the foregrounds, key of ``WITH_ALPHA``; or one of ``TOGETHER``, which hold every layer.
        opaque: of all other layers, key of ``OPAQUE``.
        alpha: whether colour is ``straight`` or ``premultiplied`` in the foregrounds' files. A PSD is always straight.
        frame: of a PSD.

    Raises:
        VideoFileError: a value is unknown.
    """

    format: str = FORMATS[0]
    opaque: str = "H.264 (.mp4)"
    alpha: str = STRAIGHT
    frame: int = 0

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.format, FORMATS, "format"),
            (self.opaque, OPAQUE, "opaque format"),
            (self.alpha, ALPHA_KINDS, "kind of alpha"),
        ):
            if value not in known:
                raise VideoFileError(
                    f"got unknown {what} {value!r}, expected one of {', '.join(known)}"
                )


def save_layers(
    folder: Path,
    layers: LayerVideo,
    how: SaveOptions,
    fps: float | Fraction | None = None,
    metadata: Mapping[str, Any] | None = None,
    others: Iterable[Path] = (),
) -> list[Path]:
    """Write a new folder with the layers and ``layers.json``, whole or not at all.

    Foregrounds are called in the set as their files are, see ``named_like_files``.

    Args:
        fps: exact rate where one is known; else the layers' own.
        metadata: written into every file that can hold them, and into the record.
        others: folders beside it to take when it is there already, also when another process was faster.

    Returns:
        The folder's files and folders, the record last.

    Raises:
        FrameError: layers of different length or size, or a frame that is not there.
        VideoFileError: all folders are there already, or none can be written.
    """
    check_layers(layers)
    layers = named_like_files(layers)
    rate = exact_rate(read_rate(layers.fps if fps is None else fps, "fps", VideoFileError))
    metadata = dict(metadata or {})
    with new_folder(folder, others) as new:
        files = _write_files(new.partial, layers, how, rate, metadata)
        record = _describe_set(layers, rate, how, files) | metadata
        (new.partial / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    names = dict.fromkeys(files.values())
    return [*(new.path / name for name in names), new.path / RECORD]


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


def _write_files(
    folder: Path,
    layers: LayerVideo,
    how: SaveOptions,
    rate: Fraction,
    metadata: Mapping[str, Any],
) -> dict[str, str]:
    """By layer, the name of its file or folder."""
    if how.format == EXR:
        return _write_exrs(folder, layers, how, rate, metadata)
    if how.format == PSD:
        return _write_document(folder, layers, how)
    return dict(_write_apart(folder, layers, how, rate, metadata))


def _describe_set(
    layers: LayerVideo, rate: Fraction, how: SaveOptions, files: Mapping[str, str]
) -> dict[str, Any]:
    if how.format == PSD:
        return describe(layers, rate, STRAIGHT, files, frames=1)
    return describe(layers, rate, how.alpha, files, exact=how.format == EXR)


def _foreground_frames(layer: Foreground, alpha_kind: str) -> Iterator[Tensor]:
    for frame in with_alpha(layer.colour, layer.opacity):
        yield (
            torch.cat([premultiply(frame[:3], frame[3:]), frame[3:]])
            if alpha_kind == PREMULTIPLIED
            else frame
        )


def _opaque_layers(layers: LayerVideo) -> dict[str, Tensor]:
    return {
        k: v
        for k, v in (
            (BACKGROUND, layers.background),
            (BLENDED, layers.blended),
            (RESIDUAL, layers.residual),
        )
        if v is not None
    }


def _write_apart(
    folder: Path, layers: LayerVideo, how: SaveOptions, rate: Fraction, metadata: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    for layer in layers.foregrounds:
        written = WITH_ALPHA[how.format](
            folder / layer.name,
            _foreground_frames(layer, how.alpha),
            rate,
            {**metadata, "alpha": how.alpha},
        )
        yield layer.name, written.name
    write = OPAQUE[how.opaque]
    for name, clip in _opaque_layers(layers).items() if write else ():
        frames = clip if name != RESIDUAL else (BIAS + BIAS * frame for frame in clip)
        yield name, write(folder / name, frames, rate, metadata).name


def _write_exrs(
    folder: Path, layers: LayerVideo, how: SaveOptions, rate: Fraction, metadata: Mapping[str, Any]
) -> dict[str, str]:
    foregrounds = {layer.name: _foreground_frames(layer, how.alpha) for layer in layers.foregrounds}
    clips = {**foregrounds, **{name: iter(clip) for name, clip in _opaque_layers(layers).items()}}
    for number, images in enumerate(zip(*clips.values())):
        path = folder / "frames" / f"{IMAGE_NUMBER.format(number)}.exr"
        write_exr(
            path,
            dict(zip(clips, images)),
            rate,
            {**metadata, "alpha": how.alpha, "transfer": "display-referred, BT.709 primaries"},
        )
    return dict.fromkeys(clips, "frames")


def _write_document(folder: Path, layers: LayerVideo, how: SaveOptions) -> dict[str, str]:
    if not 0 <= how.frame < len(layers.foreground):
        raise FrameError(
            f"got frame {how.frame}, these layers have {len(layers.foreground)}: expected 0 to "
            f"{len(layers.foreground) - 1}"
        )
    below = {BACKGROUND: layers.background[how.frame]} if layers.background is not None else {}
    images = {
        **below,
        **{
            layer.name: torch.cat([layer.colour[how.frame], layer.opacity[how.frame]])
            for layer in layers.foregrounds
        },
    }
    if layers.blended is not None:
        images[BLENDED] = layers.blended[how.frame]
    write_psd(folder / "layers.psd", images, hidden=(BLENDED,))
    return dict.fromkeys(images, "layers.psd")
