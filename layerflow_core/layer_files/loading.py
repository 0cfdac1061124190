"""Layers from files: a saved set, or any video, picture or folder of pictures.

Legend: N frames, C channels, H height, W width; 0..1, straight colour unless said, alpha 1 = opaque.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..errors import VideoFileError
from ..layers import Foreground, LayerVideo
from ..layout import BACKGROUND, BLENDED
from ..rgba import unpremultiply
from ..video.files import ALL, Footage, Pick, list_pictures, read_exr, read_video
from .record import BIAS, PREMULTIPLIED, RECORD, RESIDUAL, STRAIGHT, check_layers


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
    return LayerVideo(foregrounds, background, blended, float(pick.rate(fps)), None if residual is None else (residual - BIAS) / BIAS)


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
        return (pick.sized(BIAS + BIAS * picture) - BIAS) / BIAS
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

    from ..video.pixels import from_array

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
