"""LayerFlowLoRA: content and motion LoRA on a model."""

from __future__ import annotations

from pathlib import Path

from .host import CATEGORY

FOLDER = "loras"
NONE = "none"


class LayerFlowLoRA:
    """Puts LoRA that `layerflow train` wrote onto a model."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Puts a content and a motion LoRA trained with `layerflow train` onto a model. The model that comes in stays as it is."
    RETURN_TYPES = ("LAYERFLOW_MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model with the LoRA, for LayerSampler and DecomposeVideo.",)
    FUNCTION = "attach"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        import folder_paths

        files = [NONE, *folder_paths.get_filename_list(FOLDER)]
        strength = {"min": -2.0, "max": 2.0, "step": 0.05}
        return {
            "required": {
                "model": ("LAYERFLOW_MODEL", {"tooltip": "From LoadLayerFlow."}),
                "content": (files, {"tooltip": "Content LoRA, a file in models/loras."}),
                "content_strength": ("FLOAT", {"default": 1.0, **strength, "tooltip": "1 = as trained."}),
                "motion": (files, {"tooltip": "Motion LoRA, a file in models/loras."}),
                "motion_strength": ("FLOAT", {"default": 0.0, **strength, "tooltip": "0 at inference, as in the paper; 1 makes the layers stand still."}),
            }
        }

    def attach(self, model, content: str, content_strength: float, motion: str, motion_strength: float) -> tuple:
        import folder_paths

        from ..layerflow_core.model.lora_file import attach_lora

        chosen = [Path(folder_paths.get_full_path_or_raise(FOLDER, name)) for name in (content, motion) if name != NONE]
        return (attach_lora(model, chosen, content_strength, motion_strength) if chosen else model,)
