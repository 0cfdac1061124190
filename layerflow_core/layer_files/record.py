"""``layers.json``: what the files of a saved set are."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ..errors import FrameError
from ..layers import LayerVideo
from ..layout import BACKGROUND, BLENDED

RECORD = "layers.json"
RESIDUAL = "residual"
RESERVED = (BACKGROUND, BLENDED, RESIDUAL)
"""Names that no foreground has."""
STRAIGHT, PREMULTIPLIED = ALPHA_KINDS = ("straight", "premultiplied")
BIAS = 0.5
"""A residual of 0 in files that hold 0..1."""

_FORMAT = 1


def describe(layers: LayerVideo, fps: Fraction, alpha: str, files: Mapping[str, str], frames: int | None = None, exact: bool = False) -> dict[str, Any]:
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
        raise FrameError(f"layers of different frames, height, width met: {shapes}; expected all alike")
