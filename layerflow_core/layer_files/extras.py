"""What a set can have beside its layers, to look at and for programs that read less.

Legend: N frames, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..layers import LayerVideo
from ..video.png import write_png, write_png_sequence
from ..video.streams.encodings import write_h264
from ..video.webp import write_webp
from .contact_sheet import draw_sheet, draw_strip
from .stored_pixels import foreground_frames

_SHEET = "contact_sheet"
_STRIP = "layers"
_RECOMPOSED = "recomposed"


@dataclass(frozen=True)
class Extra:
    """A row.

    Args:
        stems: names without endings that no layer has beside it.
        write: (folder, layers, frames per second, kind of alpha) to the names of the files, by what they are.
    """

    stems: tuple[str, ...]
    write: Callable[[Path, LayerVideo, Fraction, str], dict[str, str]]


def _write_sheet(folder: Path, layers: LayerVideo, fps: Fraction, alpha: str) -> dict[str, str]:
    name = f"{_SHEET}.png"
    write_png(folder / name, draw_sheet(layers))
    return {"contact sheet": name}


def _write_strip(folder: Path, layers: LayerVideo, fps: Fraction, alpha: str) -> dict[str, str]:
    name = f"{_STRIP}.webp"
    write_webp(folder / name, draw_strip(layers), fps)
    return {"moving strip": name}


def _write_frames(folder: Path, layers: LayerVideo, fps: Fraction, alpha: str) -> dict[str, str]:
    files = {}
    for layer in layers.foregrounds:
        write_png_sequence(folder / layer.name, foreground_frames(layer, alpha))
        files[f"{layer.name} frames"] = f"{layer.name}/%05d.png"
    return files


def _write_recomposed(
    folder: Path, layers: LayerVideo, fps: Fraction, alpha: str
) -> dict[str, str]:
    if layers.background is None:
        return {}
    name = f"{_RECOMPOSED}.mp4"
    write_h264(folder / name, layers.recompose(), fps)
    return {"recomposed": name}


FRAMES = "frames"
EXTRAS: Mapping[str, Extra] = {
    "contact sheet": Extra((_SHEET,), _write_sheet),
    "moving strip": Extra((_STRIP,), _write_strip),
    FRAMES: Extra((), _write_frames),
    "recomposed": Extra((_RECOMPOSED,), _write_recomposed),
}
"""Files beside the layers. ``frames`` are PNGs of the foregrounds, for formats that have no folder of their name."""
