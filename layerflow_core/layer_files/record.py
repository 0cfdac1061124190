"""``layers.json``: what the files of a set of layers are, whoever wrote it: a node, a command, a training clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len

from ..errors import FrameError, VideoFileError
from ..layers import RESIDUAL, LayerVideo
from ..layout import BACKGROUND, BLENDED
from ..names import FileNames
from ..plain_data import Name, read_record
from ..rates import read_rate
from .stored_pixels import ALPHA_KINDS, BIASED

RECORD = "layers.json"
RESERVED = (BACKGROUND, BLENDED, RESIDUAL)
"""Names that no foreground has."""
_FORMAT = 1


def describe(
    layers: LayerVideo,
    fps: Fraction,
    alpha: str,
    files: Mapping[str, str],
    frames: int | None = None,
    residual: str = BIASED,
) -> dict[str, Any]:
    """A record of layers, as ``load_layers`` reads it.

    Args:
        files: by layer, names beside the record.
        frames: of the files, None for all.
        residual: how its values are stored.
    """
    count, height, width = shape_of(layers)
    return {
        "format": _FORMAT,
        "alpha": alpha,
        "fps": f"{fps.numerator}/{fps.denominator}",
        "frames": count if frames is None else frames,
        "width": width,
        "height": height,
        "foregrounds": [layer.name for layer in layers.foregrounds],
        "residual": None if layers.residual is None else residual,
        "files": dict(files),
    }


def shape_of(layers: LayerVideo) -> tuple[int, int, int]:
    """Frames, height and width.

    Raises:
        FrameError: the layers are not of one length and size, or there is none.
    """
    shapes = {name: (len(clip), *clip.shape[2:]) for name, clip in layers.clips().items()}
    if layers.residual is not None:
        shapes[RESIDUAL] = (len(layers.residual), *layers.residual.shape[2:])
    if len(set(shapes.values())) > 1:
        raise FrameError(
            f"got layers of different frames, height, width: {shapes}; expected all alike"
        )
    if not shapes:
        raise FrameError("got no layers, expected one or more")
    return next(iter(shapes.values()))


@dataclass(frozen=True)
class _Written:
    """``layers.json`` as it stands; what else it says is for people."""

    files: Annotated[dict[Name, Name], Len(1, 256)]
    foregrounds: Annotated[list[Name], Len(0, 64)]
    alpha: Literal[ALPHA_KINDS]
    fps: Any
    format: Literal[1] = _FORMAT
    prompts: Any = None


@dataclass(frozen=True)
class SetRecord:
    """A saved set, checked.

    Args:
        foregrounds: names, the lowest first, each of which a file can have.
        files: by layer, all beside the record.
        alpha: of the foregrounds' colour, key of ``ALPHA_KINDS``.
        prompts: what the record says under that name, unchecked; None if it says nothing.
    """

    foregrounds: tuple[str, ...]
    files: Mapping[str, Path]
    alpha: str
    fps: Fraction
    prompts: Any = None


def read_set(path: Path) -> SetRecord:
    """Read ``layers.json``, which may come from anyone.

    Raises:
        VideoFileError: no record of layers, or one that points to files elsewhere.
    """
    written = read_record(_Written, path, VideoFileError)
    missing = [name for name in written.foregrounds if name not in written.files]
    if missing:
        raise VideoFileError(
            f"{path} names the foregrounds {ascii(missing)[:200]} and no files for them, "
            "expected a record that SaveLayers wrote"
        )
    names = FileNames(RESERVED)
    files = {}
    foregrounds = []
    for name in written.foregrounds:
        cleaned = names.claim(name)
        foregrounds.append(cleaned)
        files[cleaned] = _beside(path, written.files[name])
    for name in RESERVED:
        if name in written.files:
            files[name] = _beside(path, written.files[name])
    fps = read_rate(written.fps, f"{path}: fps", VideoFileError)
    return SetRecord(tuple(foregrounds), files, written.alpha, fps, written.prompts)


def _beside(record: Path, file: str) -> Path:
    """A file of a set; raises VideoFileError unless it is in the record's own folder."""
    wrong = VideoFileError(
        f"{record} names the file {ascii(file)[:200]}, expected the name of a file beside it, without folders"
    )
    if Path(file).name != file or file in ("", ".", "..") or "\\" in file or "\0" in file:
        raise wrong
    path = record.parent / file
    try:
        inside = path.resolve().is_relative_to(record.parent.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise wrong from error
    if not inside:
        raise wrong
    return path
