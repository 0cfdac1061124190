"""ConditionLayer: a layer that is already there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..layerflow_core.footage import TIMINGS, to_condition
from ..layerflow_core.layout import BACKGROUND, FOREGROUND, Layout
from ..layerflow_core.video.frames import FITS, check_frames
from .host import CATEGORY
from .images import ALPHA_MEANINGS, to_layer


@dataclass(frozen=True)
class Condition:
    """A layer to condition on, and how it is brought to the model's size and length.

    Args:
        name: of its clip.
        colour: [N, 3, H, W].
        alpha: [N, 1, H, W] of a foreground.
    """

    name: str
    colour: Tensor
    alpha: Tensor | None = None
    fit: str = FITS[0]
    timing: str = "first"

    def layers_for(self, layout: Layout) -> dict[str, Tensor]:
        """By clip name, with an alpha clip where the layout has one; raises FrameError if it was not given."""
        return to_condition(layout, self.name, self.colour, self.alpha)


class ConditionLayer:
    """Marks a video as the foreground or the background the model shall keep."""

    DISPLAY_NAME = "LayerFlow Condition Layer"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Gives the sampler a layer that is already there: it generates a background for a "
        "foreground, or a foreground for a background."
    )
    RETURN_TYPES = ("LAYERFLOW_GIVEN",)
    RETURN_NAMES = ("given",)
    OUTPUT_TOOLTIPS = ("For LayerSampler's 'given'.",)
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
                "layer": ((FOREGROUND, BACKGROUND), {"tooltip": "Which layer this is."}),
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
                )
            },
        }

    def give(self, images, layer, alpha_is, fit, timing, alpha=None) -> tuple:
        colour, matte = to_layer(images, alpha if layer == FOREGROUND else None, alpha_is, layer)
        check_frames(colour, layer, fewest=1)
        return (Condition(layer, colour, matte, fit, timing),)
