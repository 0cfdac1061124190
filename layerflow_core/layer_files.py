"""A set of layers on disk: what each format holds is a row, and ``layers.json`` says what the files are.

Legend: N frames, C channels, H height, W width; 0..1, straight colour unless said, alpha 1 = opaque.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import FrameError, VideoFileError
from .layers import Foreground, LayerVideo
from .layout import BACKGROUND, BLENDED
from .rgba import premultiply, unpremultiply
from .video.atomic import new_folder
from .video.encodings import H264, H265, PRORES_422, PRORES_4444, VP9_ALPHA, Encoding, exact_rate, with_alpha, write_stream
from .video.files import ALL, Footage, Pick, list_pictures, read_exr, read_video
from .video.pictures import PICTURE_NUMBER, write_apng, write_exr, write_png_frames, write_psd
from .video.webp import write_webp

RECORD = "layers.json"
RESIDUAL = "residual"
_FORMAT = 1
STRAIGHT, PREMULTIPLIED = ALPHA_KINDS = ("straight", "premultiplied")
_BIAS = 0.5  # a residual of 0 in files that hold 0..1

# (path without suffix, frames [C, H, W], exact rate, notes) -> the file or folder that was written
WriteClip = Callable[[Path, Iterable[Tensor], Fraction, Mapping[str, Any]], Path]


def _stream(form: Encoding) -> WriteClip:
    def write(path: Path, frames: Iterable[Tensor], fps: Fraction, notes: Mapping[str, Any]) -> Path:
        target = path.with_suffix(form.suffix)
        write_stream(target, frames, fps, form, notes)
        return target

    return write


def _sequence(top: int) -> WriteClip:
    def write(path: Path, frames: Iterable[Tensor], fps: Fraction, notes: Mapping[str, Any]) -> Path:
        write_png_frames(lambda number: path / f"{PICTURE_NUMBER.format(number)}.png", frames, top, notes)
        return path

    return write


def _moving(write_moving: Callable[..., None], suffix: str) -> WriteClip:
    def write(path: Path, frames: Iterable[Tensor], fps: Fraction, notes: Mapping[str, Any]) -> Path:
        target = path.with_suffix(suffix)
        write_moving(target, frames, fps, notes)
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


@dataclass(frozen=True)
class Saving:
    """How a set is saved.

    Args:
        format: of the foregrounds, row of ``WITH_ALPHA``; or one of ``TOGETHER``, which hold every layer.
        opaque: of all other layers, row of ``OPAQUE``.
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
        for value, known, what in ((self.format, FORMATS, "format"), (self.opaque, OPAQUE, "opaque format"), (self.alpha, ALPHA_KINDS, "kind of alpha")):
            if value not in known:
                raise VideoFileError(f"unknown {what} {value!r} met, expected one of {', '.join(known)}")


def save_layers(folder: Path, layers: LayerVideo, how: Saving, fps: float | Fraction | None = None, notes: Mapping[str, Any] | None = None) -> list[Path]:
    """Write a new folder with the layers and ``layers.json``, whole or not at all.

    Args:
        fps: exact rate where one is known; else the layers' own.
        notes: written into every file that can hold them, and into the record.

    Returns:
        The folder's files and folders, the record last.

    Raises:
        FrameError: layers of different length or size, or a frame that is not there.
        VideoFileError: the folder is there already or cannot be written.
    """
    check_layers(layers)
    rate, notes = exact_rate(layers.fps if fps is None else fps), dict(notes or {})
    with new_folder(folder) as partial:
        if how.format == EXR:
            files = _write_exrs(partial, layers, how, rate, notes)
        elif how.format == PSD:
            files = _write_document(partial, layers, how)
        else:
            files = dict(_write_apart(partial, layers, how, rate, notes))
        kind = STRAIGHT if how.format == PSD else how.alpha
        record = describe(layers, rate, kind, files, frames=1 if how.format == PSD else None, exact=how.format == EXR)
        record |= notes
        (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return [*dict.fromkeys(folder / name for name in files.values()), folder / RECORD]


def describe(layers: LayerVideo, fps: Fraction, alpha: str, files: Mapping[str, str], frames: int | None = None, exact: bool = False) -> dict[str, Any]:
    """A record of layers, as ``load_layers`` reads it.

    Args:
        files: by layer, names beside the record.
        frames: of the files, None for all.
        exact: the residual is stored as it is, not around mid grey.
    """
    residual = "as it is" if exact else f"{_BIAS} + {_BIAS} * value"
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
        raise FrameError(f"layers of different frames, height, width met: {shapes}; expected all alike")


def _foreground_frames(layer: Foreground, alpha_kind: str) -> Iterator[Tensor]:
    for frame in with_alpha(layer.colour, layer.opacity):
        yield torch.cat([premultiply(frame[:3], frame[3:]), frame[3:]]) if alpha_kind == PREMULTIPLIED else frame


def _opaque_layers(layers: LayerVideo) -> dict[str, Tensor]:
    return {k: v for k, v in ((BACKGROUND, layers.background), (BLENDED, layers.blended), (RESIDUAL, layers.residual)) if v is not None}


def _write_apart(folder: Path, layers: LayerVideo, how: Saving, rate: Fraction, notes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for layer in layers.foregrounds:
        written = WITH_ALPHA[how.format](folder / layer.name, _foreground_frames(layer, how.alpha), rate, {**notes, "alpha": how.alpha})
        yield layer.name, written.name
    write = OPAQUE[how.opaque]
    for name, clip in _opaque_layers(layers).items() if write else ():
        frames = clip if name != RESIDUAL else (_BIAS + _BIAS * frame for frame in clip)
        yield name, write(folder / name, frames, rate, notes).name


def _write_exrs(folder: Path, layers: LayerVideo, how: Saving, rate: Fraction, notes: Mapping[str, Any]) -> dict[str, str]:
    foregrounds = {layer.name: _foreground_frames(layer, how.alpha) for layer in layers.foregrounds}
    clips = {**foregrounds, **{name: iter(clip) for name, clip in _opaque_layers(layers).items()}}
    for number, pictures in enumerate(zip(*clips.values())):
        path = folder / "frames" / f"{PICTURE_NUMBER.format(number)}.exr"
        write_exr(path, dict(zip(clips, pictures)), rate, {**notes, "alpha": how.alpha, "transfer": "display-referred, BT.709 primaries"})
    return dict.fromkeys(clips, "frames")


def _write_document(folder: Path, layers: LayerVideo, how: Saving) -> dict[str, str]:
    if not 0 <= how.frame < len(layers.foreground):
        raise FrameError(f"frame {how.frame} met, these layers have {len(layers.foreground)}: expected 0 to {len(layers.foreground) - 1}")
    below = {BACKGROUND: layers.background[how.frame]} if layers.background is not None else {}
    pictures = {**below, **{layer.name: torch.cat([layer.colour[how.frame], layer.opacity[how.frame]]) for layer in layers.foregrounds}}
    if layers.blended is not None:
        pictures[BLENDED] = layers.blended[how.frame]
    write_psd(folder / "layers.psd", pictures, hidden=(BLENDED,))
    return dict.fromkeys(pictures, "layers.psd")


def load_layers(path: Path, pick: Pick = ALL, matte: Path | None = None, alpha: str = STRAIGHT) -> LayerVideo:
    """Read a saved set, or any video, picture or folder of pictures as a foreground.

    Args:
        path: a folder with ``layers.json``, the record itself, or a file.
        matte: of a file: another one whose alpha, or brightness, is the alpha.
        alpha: of a file: what its colour is; a set's record says it itself.

    Raises:
        FrameError: layers that do not fit each other.
        VideoFileError: nothing there, or damaged.
    """
    record = path / RECORD if path.is_dir() else path
    layers = _load_set(record, pick) if record.name == RECORD and record.is_file() else _load_clip(path, pick, matte, alpha)
    check_layers(layers)
    return layers


def matte_of(footage: Footage) -> Tensor:
    """A matte video's alpha [N, 1, H, W]: its own where it has one, else its brightness."""
    return footage.alpha if footage.alpha is not None else footage.colour.mean(1, keepdim=True)


def _load_clip(path: Path, pick: Pick, matte: Path | None, kind: str) -> LayerVideo:
    if path.suffix.lower() == ".psd":
        return _read_document(path)
    if path.suffix.lower() == ".exr" or (path.is_dir() and all(p.suffix.lower() == ".exr" for p in list_pictures(path))):
        return _read_exrs([path] if path.is_file() else list_pictures(path), Fraction(8), pick, kind)
    footage = read_video(path, pick=pick)
    alpha = matte_of(read_video(matte, footage.fps, pick)) if matte else footage.alpha
    return LayerVideo((_to_foreground("foreground", footage.colour, alpha, kind),), None, None, float(footage.fps))


def _load_set(record: Path, pick: Pick) -> LayerVideo:
    try:
        facts = json.loads(record.read_text())
        files, kind, fps = facts["files"], facts["alpha"], Fraction(facts["fps"])
        names = facts["foregrounds"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise VideoFileError(f"{record} cannot be read as a record of layers ({error!r}); expected one that SaveLayers wrote") from error
    if missing := [name for name in names if name not in files]:
        raise VideoFileError(f"{record} names the foregrounds {missing} and no files for them, expected a record that SaveLayers wrote")
    paths = {name: record.parent / _inside(file, record) for name, file in files.items()}
    if any(path.suffix == ".psd" for path in paths.values()):
        return replace(_read_document(next(iter(paths.values()))), fps=float(fps))
    if len(set(paths.values())) == 1 and len(paths) > 1:
        return _read_exrs(list_pictures(next(iter(paths.values()))), fps, pick, kind, names[0])
    clips = {name: read_video(path, fps, pick) for name, path in paths.items() if name in (*names, BACKGROUND, BLENDED, RESIDUAL)}
    foregrounds = tuple(_to_foreground(name, clips[name].colour, clips[name].alpha, kind) for name in names)
    background, blended, residual = (clips[name].colour if name in clips else None for name in (BACKGROUND, BLENDED, RESIDUAL))
    return LayerVideo(foregrounds, background, blended, float(pick.rate(fps)), None if residual is None else (residual - _BIAS) / _BIAS)


def _inside(file: str, record: Path) -> str:
    """A record may come from anybody: its files lie beside it or nowhere."""
    if Path(file).name != file:
        raise VideoFileError(f"{record} names the file {file!r}, expected a name without folders")
    return file


def _to_foreground(name: str, colour: Tensor, alpha: Tensor | None, kind: str) -> Foreground:
    if alpha is not None and kind == PREMULTIPLIED:
        colour = unpremultiply(colour, alpha)
    return Foreground(name, colour, alpha)


def _read_exrs(paths: list[Path], fps: Fraction, pick: Pick, kind: str, first: str = "foreground") -> LayerVideo:
    frames = [{name: _sized(name, picture, pick) for name, picture in read_exr(path).items()} for path in pick.of(paths)]
    if not frames or any(frame.keys() != frames[0].keys() for frame in frames):
        raise VideoFileError(f"{paths[0].parent} holds no frames of equal layers, expected a sequence of OpenEXR files")
    clips = {name: torch.stack([frame[name] for frame in frames]) for name in frames[0]}
    foregrounds = tuple(
        _to_foreground(name or first, clip[:, :3], clip[:, 3:] if clip.shape[1] == 4 else None, kind)
        for name, clip in clips.items() if name not in (BACKGROUND, BLENDED, RESIDUAL)
    )  # fmt: skip
    if not foregrounds:
        raise VideoFileError(f"{paths[0]} has the layers {sorted(clips)}, expected a foreground too")
    return LayerVideo(foregrounds, clips.get(BACKGROUND), clips.get(BLENDED), float(pick.rate(fps)), clips.get(RESIDUAL))


def _sized(name: str, picture: Tensor, pick: Pick) -> Tensor:
    if name == RESIDUAL and (pick.width or pick.height):  # resizing clips to 0..1
        return (pick.sized(_BIAS + _BIAS * picture) - _BIAS) / _BIAS
    return pick.sized(picture)


def _on_canvas(layer, size: tuple[int, int]):
    """A Photoshop layer as a picture of the whole document; its own is cut to what is not empty."""
    from PIL import Image

    canvas, picture = Image.new("RGBA", size), layer.topil()
    if picture is not None:
        canvas.paste(picture.convert("RGBA"), (layer.left, layer.top))
    return canvas


def _read_document(path: Path) -> LayerVideo:
    try:
        from psd_tools import PSDImage
    except ImportError as error:
        raise VideoFileError(f"{path} cannot be read: the package psd-tools is not installed here; pip install psd-tools") from error
    import numpy as np

    from .video.pixels import from_array

    try:
        document = PSDImage.open(path)
        pictures = {layer.name: from_array(np.asarray(_on_canvas(layer, document.size)))[None] for layer in document if layer.kind == "pixel"}
    except (OSError, ValueError, AttributeError, AssertionError) as error:
        raise VideoFileError(f"{path} cannot be read as a Photoshop document ({error}); is it complete?") from error
    if not pictures:
        raise VideoFileError(f"{path} has no pixel layers, expected at least one")
    foregrounds = tuple(Foreground(name, p[:, :3], p[:, 3:]) for name, p in pictures.items() if name not in (BACKGROUND, BLENDED))
    background, blended = (pictures[name][:, :3] if name in pictures else None for name in (BACKGROUND, BLENDED))
    return LayerVideo(foregrounds, background, blended, 1.0)
