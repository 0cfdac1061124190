"""LayerPrompts: one text per layer."""

from __future__ import annotations

from ..layerflow_core.layout import BACKGROUND, BLENDED, FOREGROUND
from .host import CATEGORY


class LayerPrompts:
    """Collects the per-layer prompts; the index prefix the model wants is added in the core."""

    DISPLAY_NAME = "LayerFlow Layer Prompts"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "One prompt per layer. Write plain sentences: the model's index prefix ('0, ', '1, ', "
        "'2, ') is added for you."
    )
    RETURN_TYPES = ("LAYERFLOW_PROMPTS",)
    RETURN_NAMES = ("prompts",)
    OUTPUT_TOOLTIPS = ("The prompts, for LayerSampler and DecomposeVideo.",)
    FUNCTION = "collect"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        def text(default: str, tooltip: str) -> tuple:
            return ("STRING", {"multiline": True, "default": default, "tooltip": tooltip})

        return {
            "required": {
                "foreground": text(
                    "a blue solid circle moving right",
                    "What the transparent layer shows, alone. Embedded model: '<colour> solid|glass <shape> <motion>'.",
                ),
                "background": text("a sunset", "The scene without the foreground. May stay empty."),
                "blended": text(
                    "a blue solid circle moving right in front of a sunset",
                    "Both together. May stay empty; decomposition by official checkpoints does not use it.",
                ),
            }
        }

    def collect(self, foreground: str, background: str, blended: str) -> tuple:
        return ({FOREGROUND: foreground, BACKGROUND: background, BLENDED: blended},)
