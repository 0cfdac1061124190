"""RefineAlpha: cleaner edges."""

from __future__ import annotations

import torch

from ..layerflow_core.editing.refinement import SPILLS, Refinement, refine
from ..layerflow_core.errors import FrameError
from .host import CATEGORY
from .images import ALPHA_MEANINGS, number, to_image, to_layer


class RefineAlpha:
    """Threshold, choke, feather, fringe and spill of a layer's edge."""

    DISPLAY_NAME = "LayerFlow Refine Alpha"
    CATEGORY = f"{CATEGORY}/layers"
    SEARCH_ALIASES = [
        "matte",
        "edge",
        "erode",
        "dilate",
        "feather",
        "choke",
        "despill",
        "green screen",
    ]
    DESCRIPTION = (
        "Refines a layer's edge, in this order: threshold, choke, feather; then the colour: "
        "fringe and spill."
    )
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE")
    RETURN_NAMES = ("images", "alpha", "rgba")
    OUTPUT_TOOLTIPS = ("Colour, straight.", "Alpha, 1 = opaque.", "Both as four channels.")
    FUNCTION = "refine"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "images": (
                    "IMAGE",
                    {
                        "tooltip": "Colour of the layer, or the footage it was cut from; a fourth channel is its alpha."
                    },
                ),
                "low": number(0.0, 0.0, 1.0, 0.01, "Alpha below this becomes transparent."),
                "high": number(1.0, 0.0, 1.0, 0.01, "Alpha above this becomes opaque."),
                "choke": number(
                    0.0, -64.0, 64.0, 0.1, "Pixels the edge moves inwards; negative: outwards."
                ),
                "feather": number(
                    0.0, 0.0, 64.0, 0.1, "Blur of the edge, standard deviation in pixels."
                ),
                "fringe": number(
                    0.0,
                    0.0,
                    200.0,
                    1.0,
                    "Radius in pixels within which edge colours are estimated again, without "
                    "what shone through; 0: off, 20 to 90 are usual.",
                ),
                "spill": (
                    list(SPILLS),
                    {"default": "none", "tooltip": "Takes a screen's colour out of the layer."},
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

    def refine(self, images, alpha_is, alpha=None, **widgets) -> tuple:
        colour, matte = to_layer(images, alpha, alpha_is)
        if matte is None:
            raise FrameError(
                "the layer has no alpha: connect a MASK to 'alpha', or an IMAGE with four channels"
            )
        colour, matte = refine(colour, matte, Refinement(**widgets))
        return to_image(colour), matte[:, 0], to_image(torch.cat([colour, matte], 1))
