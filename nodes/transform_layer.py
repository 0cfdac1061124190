"""TransformLayer: a layer moved and retimed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..layerflow_core.editing.retiming import ENDINGS, Retiming
from ..layerflow_core.editing.transform import Transform, transform, transform_layer
from .host import CATEGORY
from .images import ALPHA_MEANINGS, number, to_image, to_layer


class TransformLayer:
    """Offset, scale, rotation, speed, hold and reverse of one layer."""

    DISPLAY_NAME = "LayerFlow Transform Layer"
    CATEGORY = f"{CATEGORY}/layers"
    SEARCH_ALIASES = ["move", "scale", "rotate", "position", "resize layer"]
    DESCRIPTION = (
        "Moves, scales, turns and retimes a layer. Colour is resampled premultiplied, so "
        "edges stay clean. Without alpha it moves any images, a residual too; what is "
        "uncovered is black."
    )
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE")
    RETURN_NAMES = ("images", "alpha", "rgba")
    OUTPUT_TOOLTIPS = (
        "Colour, straight.",
        "Alpha, 1 = opaque; all opaque where none came in.",
        "Both as four channels.",
    )
    FUNCTION = "transform"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "images": (
                    "IMAGE",
                    {"tooltip": "Colour of the layer; a fourth channel is its alpha."},
                ),
                "x": number(0.0, -16384.0, 16384.0, 0.1, "Pixels right; fractions are exact."),
                "y": number(0.0, -16384.0, 16384.0, 0.1, "Pixels down."),
                "scale": number(1.0, 0.01, 100.0, 0.01, "About the middle."),
                "rotate": number(
                    0.0, -3600.0, 3600.0, 0.5, "Degrees, clockwise, about the middle."
                ),
                "speed": number(
                    1.0, 0.0, 100.0, 0.05, "Frames per frame shown; 0.5 is slow motion."
                ),
                "reverse": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "From the last frame to the first."},
                ),
                "start": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 100000,
                        "tooltip": "Frames the layer begins later; its first frame is shown until then.",
                    },
                ),
                "hold": (
                    "INT",
                    {
                        "default": -1,
                        "min": -1,
                        "max": 100000,
                        "tooltip": "The frame shown here stays from here on; -1: none.",
                    },
                ),
                "ending": (
                    list(ENDINGS),
                    {
                        "default": "hold",
                        "tooltip": "When the frames run out: hold the last, loop, or bounce back.",
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
            "optional": {"alpha": ("MASK", {"tooltip": "Alpha of the layer."})},
        }

    def transform(self, images, alpha_is, alpha=None, **widgets) -> tuple:
        colour, matte = to_layer(images, alpha, alpha_is)
        move = _read_transform(widgets)
        shown = _read_retiming(widgets).frames(len(colour))
        if matte is None:
            colour = transform(colour[shown], move)
            matte = torch.ones_like(colour[:, :1])
        else:
            colour, matte = transform_layer(colour[shown], matte[shown], move)
        return to_image(colour), matte[:, 0], to_image(torch.cat([colour, matte], 1))


def _read_transform(widgets: Mapping) -> Transform:
    return Transform(widgets["x"], widgets["y"], widgets["scale"], widgets["rotate"])


def _read_retiming(widgets: Mapping) -> Retiming:
    return Retiming(
        speed=widgets["speed"],
        reverse=widgets["reverse"],
        start=widgets["start"],
        freeze=widgets["hold"],
        ending=widgets["ending"],
    )
