"""LayerPrompts: one text per layer."""

from __future__ import annotations

from ..layerflow_core.layout import BACKGROUND, BLENDED, COLOUR_LAYERS, FOREGROUND
from .host import CATEGORY

# What a new node says, and what is written there.
_EXAMPLES = {
    FOREGROUND: (
        "a blue solid circle moving right",
        "What the transparent layer shows, alone. Embedded model: '<colour> solid|glass <shape> <motion>'.",
    ),
    BACKGROUND: ("a sunset", "The scene without the foreground. May stay empty."),
    BLENDED: (
        "a blue solid circle moving right in front of a sunset",
        "Both together. May stay empty; decomposition by official checkpoints does not use it.",
    ),
}


class LayerPrompts:
    """Collects the per-layer prompts; the index prefix the model wants is added in the core."""

    DISPLAY_NAME = "LayerFlow Layer Prompts"
    CATEGORY = f"{CATEGORY}/sample"
    SEARCH_ALIASES = ["prompt", "text", "foreground prompt", "background prompt"]
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
        return {"required": {layer: _text(layer) for layer in COLOUR_LAYERS}}

    def collect(self, **texts: str) -> tuple:
        return ({layer: texts[layer] for layer in COLOUR_LAYERS},)


def _text(layer: str) -> tuple:
    default, tooltip = _EXAMPLES[layer]
    return ("STRING", {"multiline": True, "default": default, "tooltip": tooltip})
