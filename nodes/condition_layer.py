"""ConditionLayer: a layer that is already there."""

from __future__ import annotations

from ..layerflow_core.footage import TIMINGS, Condition, add_condition
from ..layerflow_core.layout import COLOUR_LAYERS, FOREGROUND
from ..layerflow_core.video.frames import FITS, check_frames
from .host import CATEGORY
from .images import ALPHA_MEANINGS, to_layer

GIVEN = "LAYERFLOW_GIVEN"


class ConditionLayer:
    """Marks a video as a layer that the model shall keep; chained, as several."""

    DISPLAY_NAME = "LayerFlow Condition Layer"
    CATEGORY = f"{CATEGORY}/sample"
    SEARCH_ALIASES = [
        "given layer",
        "background for foreground",
        "foreground for background",
        "inpaint",
    ]
    DESCRIPTION = (
        "Gives the sampler a layer that is already there: it generates a background for a "
        "foreground, a foreground for a background, all layers of a blended scene. Chain nodes "
        "to give several: a blended scene and its foreground for a clean background."
    )
    RETURN_TYPES = (GIVEN,)
    RETURN_NAMES = ("given",)
    OUTPUT_TOOLTIPS = ("For 'given' of LayerSampler, or of another ConditionLayer.",)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "images": (
                    "IMAGE",
                    {
                        "tooltip": "The layer's colour, straight. Any size and length; one "
                        "image is held for all frames."
                    },
                ),
                "layer": (
                    COLOUR_LAYERS,
                    {
                        "tooltip": "Which layer this is. A unified checkpoint, such as the embedded "
                        "one, takes any; an official one takes those of its task."
                    },
                ),
                "alpha_is": (
                    ALPHA_MEANINGS,
                    {
                        "default": ALPHA_MEANINGS[0],
                        "tooltip": "What 1 means in the MASK at 'alpha'. LayerFlow's 'alpha' "
                        "outputs: opaque. LoadImage and SplitImageWithAlpha: transparent.",
                    },
                ),
                "fit": (
                    FITS,
                    {
                        "default": "cover",
                        "tooltip": "cover: fill the frame and cut the sides, as the official "
                        "code does. pad: keep all of it. stretch: ignore the aspect.",
                    },
                ),
                "timing": (
                    list(TIMINGS),
                    {
                        "default": "first",
                        "tooltip": "first: the first frames, the last one held if there are too "
                        "few. spread: evenly over the whole video. official: the first frame "
                        "twice, as the official code reads clips. exact: refuse another length.",
                    },
                ),
            },
            "optional": {
                "alpha": (
                    "MASK",
                    {
                        "tooltip": "Alpha of a foreground; one mask serves all frames. Not "
                        "needed if 'images' has four channels."
                    },
                ),
                "given": (
                    GIVEN,
                    {"tooltip": "Another ConditionLayer, to give its layers, too."},
                ),
            },
        }

    def give(self, images, layer, alpha_is, fit, timing, alpha=None, given=()) -> tuple:
        mask = alpha if layer == FOREGROUND else None
        colour, matte = to_layer(images, mask, alpha_is, layer)
        check_frames(colour, layer, fewest=1)
        return (add_condition(given, Condition(layer, colour, matte, fit, timing)),)
