"""CompositeRGBA: layers back to a video."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..layerflow_core.editing.composite import (
    LENGTHS,
    RESIZES,
    Placement,
    Residual,
    composite_stack,
)
from ..layerflow_core.errors import FrameError
from ..layerflow_core.layers import Foreground
from ..layerflow_core.layout import BACKGROUND, FOREGROUND
from .host import CATEGORY
from .images import ALPHA_MEANINGS, LAYERS, to_frames, to_image, to_layer

STRAIGHT = "straight"
PREMULTIPLIED = "premultiplied"


class CompositeRGBA:
    """A foreground over a background."""

    DISPLAY_NAME = "LayerFlow Composite RGBA"
    CATEGORY = f"{CATEGORY}/layers"
    SEARCH_ALIASES = [
        "composite",
        "over",
        "merge",
        "alpha over",
        "rgba",
        "premultiply",
        "blend",
        "combine layers",
    ]
    DESCRIPTION = (
        "Puts a transparent foreground over a background: foreground * alpha + background * "
        "(1 - alpha), exact in float32."
    )
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = ("The composite, in the background's size.",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "foreground": (
                    "IMAGE",
                    {
                        "tooltip": "Colour of the foreground; a fourth channel counts as its "
                        "alpha unless 'alpha' is connected."
                    },
                ),
                "background": (
                    "IMAGE",
                    {"tooltip": "What is behind it. One image serves a video of any length."},
                ),
                "colour": (
                    (STRAIGHT, PREMULTIPLIED),
                    {
                        "default": STRAIGHT,
                        "tooltip": "straight: LayerFlow's own outputs. premultiplied: alpha is "
                        "already multiplied into the colour.",
                    },
                ),
                "opacity": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "Of the foreground.",
                    },
                ),
                "x": (
                    "INT",
                    {
                        "default": 0,
                        "min": -16384,
                        "max": 16384,
                        "tooltip": "Pixels the foreground moves right.",
                    },
                ),
                "y": (
                    "INT",
                    {
                        "default": 0,
                        "min": -16384,
                        "max": 16384,
                        "tooltip": "Pixels the foreground moves down.",
                    },
                ),
                "resize": (
                    RESIZES,
                    {
                        "default": "error",
                        "tooltip": "Different sizes: refuse, resize the foreground or the "
                        "background to the other, or place the foreground unresized at (x, y).",
                    },
                ),
                "length": (
                    LENGTHS,
                    {
                        "default": "error",
                        "tooltip": "Different frame counts: refuse, hold the shorter one's last "
                        "frame, loop it, or trim the longer one.",
                    },
                ),
                "alpha_is": (
                    ALPHA_MEANINGS,
                    {
                        "default": ALPHA_MEANINGS[0],
                        "tooltip": "What 1 means in the MASK at 'alpha'.",
                    },
                ),
            },
            "optional": {
                "alpha": (
                    "MASK",
                    {
                        "tooltip": "Alpha of the foreground; LayerFlow's 'alpha' output fits as it is."
                    },
                ),
                "above": (
                    LAYERS,
                    {
                        "tooltip": "More foregrounds, put over this one in their order, e.g. from JoinLayers."
                    },
                ),
                "residual": (
                    "IMAGE",
                    {
                        "tooltip": "From LayerResidual: shadows, reflections and all else that "
                        "the blended scene has beyond its layers. Added to the composite."
                    },
                ),
                "residual_scale": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": -4.0,
                        "max": 4.0,
                        "step": 0.01,
                        "tooltip": "1: as it was. 0: none.",
                    },
                ),
                "residual_follows": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "The residual moves with the foreground by (x, y). Off: it stays.",
                    },
                ),
            },
        }

    def composite(
        self, foreground, background, alpha_is, alpha=None, above=None, residual=None, **widgets
    ) -> tuple:
        colour, matte = to_layer(foreground, alpha, alpha_is, FOREGROUND)
        if matte is None:
            raise FrameError(
                "the foreground has no alpha: connect a MASK to 'alpha', or an IMAGE with four channels"
            )
        layers = [Foreground(FOREGROUND, colour, matte), *(above.foregrounds if above else ())]
        behind, _ = to_frames(background, BACKGROUND)
        added = _read_residual(residual, widgets)
        return (to_image(composite_stack(layers, behind, _read_placement(widgets), added)),)


def _read_placement(widgets: Mapping) -> Placement:
    return Placement(
        opacity=widgets["opacity"],
        x=widgets["x"],
        y=widgets["y"],
        premultiplied=widgets["colour"] == PREMULTIPLIED,
        resize=widgets["resize"],
        length=widgets["length"],
    )


def _read_residual(image: Tensor | None, widgets: Mapping) -> Residual | None:
    if image is None:
        return None
    pixels, _ = to_frames(image, "residual")
    scale = widgets.get("residual_scale", 1.0)
    return Residual(pixels, scale, widgets.get("residual_follows", True))
