"""LayerResidual: what a blended scene has beyond its layers."""

from __future__ import annotations

from .host import CATEGORY
from .images import LAYERS, to_image


class LayerResidual:
    """Shadows, reflections and whatever else foreground over background does not explain."""

    DISPLAY_NAME = "LayerFlow Layer Residual"
    CATEGORY = f"{CATEGORY}/layers"
    SEARCH_ALIASES = ["residual", "shadow", "reflection", "omnimatte"]
    DESCRIPTION = (
        "Blended minus (foregrounds over background), in float: shadows and reflections "
        "survive recomposition. CompositeRGBA adds it back, exactly."
    )
    RETURN_TYPES = (LAYERS, "IMAGE")
    RETURN_NAMES = ("layers", "residual")
    OUTPUT_TOOLTIPS = (
        "The layers with their residual, for PreviewLayers and SaveLayers.",
        "The residual, -1 to 1, for CompositeRGBA. Save it as OpenEXR; other formats hold it around mid grey.",
    )
    FUNCTION = "explain"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"layers": (LAYERS, {"tooltip": "With background and blended scene."})}}

    def explain(self, layers) -> tuple:
        explained = layers.with_residual()
        return explained, to_image(explained.residual)
