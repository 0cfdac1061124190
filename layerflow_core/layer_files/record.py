"""``layers.json``: what the files of a saved set are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len

from ..errors import FrameError, VideoFileError
from ..layers import LayerVideo
from ..layout import BACKGROUND, BLENDED
from ..names import FileNames
from ..plain_data import Name, read_record
from ..rates import read_rate

RECORD = "layers.json"
RESIDUAL = "residual"
RESERVED = (BACKGROUND, BLENDED, RESIDUAL)
"""Names that no foreground has."""
STRAIGHT, PREMULTIPLIED = ALPHA_KINDS = ("straight", "premultiplied")
BIAS = 0.5
"""A residual of 0 in files that hold 0..1."""

_FORMAT = 1


def describe(
    layers: LayerVideo,
    fps: Fraction,
    alpha: str,
    files: Mapping[str, str],
    frames: int | None = None,
    exact: bool = False,
) -> dict[str, Any]:
    """A record of layers, as ``load_layers`` reads it.

    Args:
        files: by layer, names beside the record.
        frames: of the files, None for all.
        exact: the residual is stored as it is, not around mid grey.
    """
    residual = "as it is" if exact else f"{BIAS} + {BIAS} * value"
    return {
        "format": _FORMAT,
        "alpha": alpha,
        "fps": f"{fps.numerator}/{fps.denominator}",
        "frames": len(layers.foreground) if frames is None else frames,
        "width": layers.foreground.shape[3],
        "height": layers.foreground.shape[2],
        "foregrounds": [layer.name for layer in layers.foregrounds],
        "residual": None if layers.residual is None else residual,
        "files": dict(files),
    }


def check_layers(layers: LayerVideo) -> None:
    """Raises FrameError unless all layers are of one length and size."""
    shapes = {name: (len(clip), *clip.shape[2:]) for name, clip in layers.clips().items()}
    if layers.residual is not None:
        shapes[RESIDUAL] = (len(layers.residual), *layers.residual.shape[2:])
    if len(set(shapes.values())) > 1:
        raise FrameError(
            f"got layers of different frames, height, width: {shapes}; expected all alike"
        )


@dataclass(frozen=True)
class _Written:
    """``layers.json`` as it stands; what else it says is for people."""

    files: Annotated[dict[Name, Name], Len(1, 256)]
    foregrounds: Annotated[list[Name], Len(1, 64)]
    alpha: Literal["straight", "premultiplied"]
    fps: Any
    format: Literal[1] = _FORMAT


@dataclass(frozen=True)
class SetRecord:
    """A saved set, checked.

    Args:
        foregrounds: names, the lowest first, each of which a file can have.
        files: by layer, all beside the record.
        alpha: of the foregrounds' colour, key of ``ALPHA_KINDS``.
    """

    foregrounds: tuple[str, ...]
    files: Mapping[str, Path]
    alpha: str
    fps: Fraction


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
    return SetRecord(tuple(foregrounds), files, written.alpha, fps)


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
