"""LayerFlowSampleClip: something to try the other nodes on."""

from __future__ import annotations

from ..layerflow_core.layers import Foreground, LayerVideo
from ..layerflow_core.layout import FOREGROUND
from ..layerflow_core.toy.world import FPS, draw_scene, render
from .host import CATEGORY
from .images import LAYER_NAMES, LAYER_TOOLTIPS, LAYER_TYPES, LAYERS, LAYERS_TOOLTIP, to_outputs


class LayerFlowSampleClip:
    """A clip of the procedural world the embedded model was trained on, with its true layers."""

    DISPLAY_NAME = "LayerFlow Sample Clip"
    CATEGORY = f"{CATEGORY}/sample"
    SEARCH_ALIASES = ["example", "test clip", "demo"]
    DESCRIPTION = (
        "A short clip with known layers, for trying things out. Replace it by a video loader "
        "for your own footage."
    )
    RETURN_TYPES = (*LAYER_TYPES, "LAYERFLOW_PROMPTS", LAYERS)
    RETURN_NAMES = (*LAYER_NAMES, "prompts", "layers")
    OUTPUT_TOOLTIPS = (
        *LAYER_TOOLTIPS,
        "What the layers show, as LayerPrompts would say it.",
        LAYERS_TOOLTIP,
    )
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "seed": (
                    "INT",
                    {"default": 8, "min": 0, "max": 2**31 - 1, "tooltip": "Which scene."},
                )
            }
        }

    def draw(self, seed: int) -> tuple:
        scene = draw_scene(seed, held_out=True)
        true = render(scene)
        layers = LayerVideo(
            (Foreground(FOREGROUND, true.foreground, true.alpha),),
            true.background.contiguous(),
            true.blended,
            FPS,
        )
        return (*to_outputs(layers), scene.prompts, layers)
