"""JoinLayers: images and masks of any graph as layers."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from ..layerflow_core.errors import FrameError
from ..layerflow_core.layer_files.record import RESERVED, shape_of
from ..layerflow_core.layers import Foreground, LayerVideo
from ..layerflow_core.layout import BACKGROUND, BLENDED, FOREGROUND
from ..layerflow_core.matching import match_matte
from ..layerflow_core.names import check_name
from ..layerflow_core.rates import read_rate
from .host import CATEGORY
from .images import ALPHA_MEANINGS, LAYERS, LAYERS_TOOLTIP, to_alpha, to_frames


class JoinLayers:
    """A foreground with what is behind it; chained, a stack of foregrounds."""

    DISPLAY_NAME = "LayerFlow Join Layers"
    CATEGORY = f"{CATEGORY}/layers"
    SEARCH_ALIASES = ["layers", "rgba", "image to layers", "add alpha", "matte"]
    DESCRIPTION = (
        "Makes layers of ComfyUI's images, masks or a VIDEO. With 'below' connected, the "
        "foreground is laid on top of those layers: chain nodes for a stack."
    )
    RETURN_TYPES = (LAYERS,)
    RETURN_NAMES = ("layers",)
    OUTPUT_TOOLTIPS = (LAYERS_TOOLTIP,)
    FUNCTION = "join"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "name": (
                    "STRING",
                    {
                        "default": FOREGROUND,
                        "tooltip": "Of the foreground; files are named after it, so no slashes and the like.",
                    },
                ),
                "alpha_is": (
                    ALPHA_MEANINGS,
                    {
                        "default": ALPHA_MEANINGS[0],
                        "tooltip": "What 1 means in the MASK at 'alpha'.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 8.0,
                        "min": 0.1,
                        "max": 240.0,
                        "step": 0.001,
                        "tooltip": "Frames per second; a VIDEO's and 'below' say it themselves.",
                    },
                ),
            },
            "optional": {
                "foreground": (
                    "IMAGE",
                    {"tooltip": "Colour, straight; a fourth channel is its alpha."},
                ),
                "alpha": (
                    "MASK",
                    {"tooltip": "Alpha of the foreground; one mask serves all frames."},
                ),
                "video": (
                    "VIDEO",
                    {
                        "tooltip": "Instead of 'foreground': a video, with its alpha where ComfyUI reads one."
                    },
                ),
                "background": (
                    "IMAGE",
                    {
                        "tooltip": "The scene without the foreground; one image serves all "
                        "frames. Without it the foreground is over nothing."
                    },
                ),
                "blended": ("IMAGE", {"tooltip": "The whole scene."}),
                "below": (LAYERS, {"tooltip": "Layers that the foreground is laid on."}),
            },
        }

    def join(self, name, alpha_is, fps, alpha=None, below=None, **images) -> tuple:
        colour, matte, rate = _read_foreground(images.get(FOREGROUND), images.get("video"))
        if alpha is not None:
            colour, matte = match_matte(colour, to_alpha(alpha, alpha_is), FOREGROUND)
        layer = Foreground(_name_layer(name, below), colour, matte)
        layers = below or LayerVideo(
            (), None, None, float(read_rate(rate or fps, "fps", FrameError))
        )
        layers = replace(layers, foregrounds=(*layers.foregrounds, layer), residual=None)
        for kind in (BACKGROUND, BLENDED):
            if images.get(kind) is not None:
                layers = replace(layers, **{kind: to_frames(images[kind], kind)[0]})
        layers = layers.held()
        shape_of(layers)
        return (layers,)


def _read_foreground(foreground, video):
    """Colour, alpha and rate of whichever is connected."""
    if (foreground is None) == (video is None):
        raise FrameError("expected exactly one of 'foreground' and 'video': connect one of them")
    if foreground is not None:
        return *to_frames(foreground, FOREGROUND), None
    components = video.get_components()
    colour, own = to_frames(components.images, "video")
    alpha = getattr(components, "alpha", None)  # hosts before 0.8 do not read one
    if own is None and alpha is not None:
        own = to_alpha(alpha if alpha.ndim == 3 else alpha[..., 0])
    return colour, own, float(components.frame_rate)


def _name_layer(name: str, below: LayerVideo | None) -> str:
    """The typed name, with a number where another layer has it; raises FrameError for one that no file could have."""
    typed = unicodedata.normalize("NFC", name.strip())  # macOS types some letters in two parts
    wanted = check_name(typed or FOREGROUND, "name", FrameError)
    others = below.foregrounds if below else ()
    taken = {text.casefold() for text in (*RESERVED, *(layer.name for layer in others))}
    candidate = wanted
    number = 2
    while candidate.casefold() in taken:
        candidate = f"{wanted}{number}"
        number += 1
    return candidate
