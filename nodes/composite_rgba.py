"""CompositeRGBA: layers back to a video."""

from __future__ import annotations

from dataclasses import replace

from ..layerflow_core.composite import LENGTHS, RESIZES, Placement, add_residual, composite_over
from ..layerflow_core.editing import Transform, transform
from ..layerflow_core.errors import FrameError
from .host import CATEGORY
from .images import ALPHA_MEANINGS, LAYERS, to_frames, to_image, to_layer

COLOURS = ("straight", "premultiplied")


class CompositeRGBA:
    """A foreground over a background."""

    DISPLAY_NAME = "LayerFlow Composite RGBA"
    CATEGORY = CATEGORY
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
                    COLOURS,
                    {
                        "default": COLOURS[0],
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
        self,
        foreground,
        background,
        colour,
        opacity,
        x,
        y,
        resize,
        length,
        alpha_is,
        alpha=None,
        above=None,
        residual=None,
        residual_scale=1.0,
        residual_follows=True,
    ) -> tuple:
        pixels, matte = to_layer(foreground, alpha, alpha_is, "foreground")
        if matte is None:
            raise FrameError(
                "the foreground has no alpha: connect a MASK to 'alpha', or an IMAGE with four channels"
            )
        placement = Placement(opacity, x, y, colour == COLOURS[1], resize, length)
        canvas = composite_over(pixels, matte, to_frames(background, "background")[0], placement)
        for layer in above.foregrounds if above is not None else ():
            canvas = composite_over(
                layer.colour,
                layer.opacity,
                canvas,
                replace(placement, opacity=1.0, x=0, y=0, premultiplied=False),
            )
        if residual is not None:
            move = Transform(x, y) if residual_follows else Transform()
            canvas = add_residual(
                canvas, transform(to_frames(residual, "residual")[0], move), residual_scale
            )
        return (to_image(canvas),)
