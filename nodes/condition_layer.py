"""ConditionLayer: a layer that is already there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..layerflow_core.errors import FrameError
from ..layerflow_core.footage import TIMINGS
from ..layerflow_core.layout import BACKGROUND, FOREGROUND, Layout
from ..layerflow_core.video.frames import FITS, check_frames
from .host import CATEGORY
from .images import ALPHA_MEANINGS, to_alpha, to_frames


@dataclass(frozen=True)
class Given:
    """Layers to condition on, by clip name, and how they are brought to the model's size and length.

    Args:
        colours: [N, 3, H, W]; alphas: [N, 1, H, W] by the name of their foreground.
    """

    colours: Mapping[str, Tensor]
    alphas: Mapping[str, Tensor] = field(default_factory=dict)
    fit: str = FITS[0]
    timing: str = TIMINGS[0]

    def layers_for(self, layout: Layout) -> dict[str, Tensor]:
        """By clip name, with an alpha clip where the layout has one.

        Raises:
            FrameError: the layout wants an alpha that was not given.
        """
        layers = dict(self.colours)
        for name in self.colours:
            alpha = layout.alpha_of(name) if layout.clip(name).kind == FOREGROUND else None
            if alpha and name not in self.alphas:
                raise FrameError(f"the given {name!r} has no alpha, this model's foregrounds have one: connect a MASK to 'alpha', or an IMAGE with four channels")
            if alpha:
                layers[alpha.name] = self.alphas[name]
        return layers


class ConditionLayer:
    """Marks a video as the foreground or the background the model shall keep."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Gives the sampler a layer that is already there: it draws a background for a foreground, or a foreground for a background."
    RETURN_TYPES = ("LAYERFLOW_GIVEN",)
    RETURN_NAMES = ("given",)
    OUTPUT_TOOLTIPS = ("For LayerSampler's 'given'.",)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The layer's colour, straight. Any size; two frames or more."}),
                "layer": ((FOREGROUND, BACKGROUND), {"tooltip": "Which layer this is."}),
                "alpha_is": (ALPHA_MEANINGS, {"default": ALPHA_MEANINGS[0], "tooltip": "What 1 means in the MASK at 'alpha'. LayerFlow's 'alpha' outputs: opaque. LoadImage and SplitImageWithAlpha: transparent."}),
                "fit": (FITS, {"default": "cover", "tooltip": "cover: fill the frame and cut the sides, as the official code does. pad: keep all of it. stretch: ignore the aspect."}),
                "timing": (TIMINGS, {"default": "first", "tooltip": "first: the first frames, the last one held if there are too few. spread: evenly over the whole video. exact: refuse another length."}),
            },
            "optional": {"alpha": ("MASK", {"tooltip": "Alpha of a foreground. Not needed if 'images' has four channels."})},
        }  # fmt: skip

    def give(self, images, layer, alpha_is, fit, timing, alpha=None) -> tuple:
        colour, own_alpha = to_frames(images)
        matte = to_alpha(alpha, alpha_is) if alpha is not None else own_alpha
        check_frames(colour, layer)
        if layer != FOREGROUND:
            return (Given({layer: colour}, {}, fit, timing),)
        if matte is not None and (matte.shape[0], *matte.shape[2:]) != (colour.shape[0], *colour.shape[2:]):
            raise FrameError(f"foreground of frames, height, width {(colour.shape[0], *colour.shape[2:])} and alpha of {(matte.shape[0], *matte.shape[2:])} met, expected the same")
        return (Given({layer: colour}, {} if matte is None else {layer: matte}, fit, timing),)
