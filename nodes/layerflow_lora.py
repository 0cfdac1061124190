"""LayerFlowLoRA: content and motion LoRA, and LoRA made for CogVideoX, on a model."""

from __future__ import annotations

from pathlib import Path

from ..layerflow_core.inference import prepare_for_inference
from ..layerflow_core.model.lora_file import attach_lora
from ..layerflow_core.model.third_party_lora import add_third_party_lora
from .host import CATEGORY
from .model_files import find_file, stamp

FOLDER = "loras"
NONE = "none"


class LayerFlowLoRA:
    """Puts LoRA that `layerflow train` or CogVideoX trainers wrote onto a model."""

    DISPLAY_NAME = "LayerFlow LoRA"
    CATEGORY = f"{CATEGORY}/model"
    SEARCH_ALIASES = ["lora", "adapter"]
    DESCRIPTION = (
        "Puts LoRA onto a model: content and motion LoRA trained with `layerflow train`, and "
        "one made for CogVideoX-2B by other trainers. The model that comes in stays as it is; "
        "chain nodes for more."
    )
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
                "content_strength": (
                    "FLOAT",
                    {"default": 1.0, **strength, "tooltip": "1 = as trained."},
                ),
                "motion": (files, {"tooltip": "Motion LoRA, a file in models/loras."}),
                "motion_strength": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        **strength,
                        "tooltip": "0 at inference, as in the paper; 1 makes the layers stand still.",
                    },
                ),
            },
            "optional": {
                "cogvideox": (
                    files,
                    {
                        "default": NONE,
                        "tooltip": "LoRA or DoRA of another trainer for CogVideoX-2B "
                        "(diffusers, PEFT or kohya keys), a file in models/loras. What of it "
                        "does not fit or is not used is said in a warning.",
                    },
                ),
                "cogvideox_strength": (
                    "FLOAT",
                    {"default": 1.0, **strength, "tooltip": "1 = as trained."},
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, content: str, motion: str, cogvideox: str = NONE, **_) -> str:
        return " ".join(stamp(_find(name)) for name in (content, motion, cogvideox) if name != NONE)

    def attach(
        self,
        model,
        content: str,
        content_strength: float,
        motion: str,
        motion_strength: float,
        cogvideox: str = NONE,
        cogvideox_strength: float = 1.0,
    ) -> tuple:
        if cogvideox != NONE and cogvideox_strength:
            model = add_third_party_lora(model, _find(cogvideox), cogvideox_strength)
        chosen = [_find(name) for name in (content, motion) if name != NONE]
        if chosen:
            model = attach_lora(model, chosen, content_strength, motion_strength)
        return (prepare_for_inference(model),)


def _find(name: str) -> Path:
    return find_file(FOLDER, name)
