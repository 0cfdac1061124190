"""LoadLayerFlow: a checkpoint by name."""

from __future__ import annotations

import os
from pathlib import Path

from ..layerflow_core.toy.embedded import EMBEDDED, EMBEDDED_NAME
from .host import CATEGORY

FOLDER = "layerflow"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def register_model_folder() -> None:
    """Make ``models/layerflow`` a folder that ComfyUI lists, keeping paths a user has configured."""
    import folder_paths

    known = folder_paths.folder_names_and_paths
    configured = known[FOLDER][0] if FOLDER in known else []
    known[FOLDER] = ([os.path.join(folder_paths.models_dir, FOLDER), *configured], {".safetensors"})


def _find_checkpoint(name: str) -> Path:
    import folder_paths

    return EMBEDDED if name == EMBEDDED_NAME else Path(folder_paths.get_full_path_or_raise(FOLDER, name))


class LoadLayerFlow:
    """Loads a LayerFlow checkpoint; the embedded model needs no download."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Loads a LayerFlow model. The embedded one knows a small procedural world and needs no download; converted official checkpoints belong into models/layerflow."
    RETURN_TYPES = ("LAYERFLOW_MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model, for LayerSampler and DecomposeVideo.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        import folder_paths

        files = folder_paths.get_filename_list(FOLDER)
        return {
            "required": {
                "checkpoint": ([EMBEDDED_NAME, *files], {"tooltip": "The embedded model, or a file in models/layerflow made by `layerflow convert`."}),
                "precision": (PRECISIONS, {"default": "auto", "tooltip": "auto: fp32 on a CPU, bf16 on a GPU."}),
                "content_strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05, "tooltip": "Content LoRA, 1 = as trained. No effect on a checkpoint without one."}),
                "motion_strength": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 2.0, "step": 0.05, "tooltip": "Motion LoRA, off (0) at inference as in the paper; 1 makes the layers stand still."}),
            }
        }  # fmt: skip

    @classmethod
    def IS_CHANGED(cls, checkpoint: str, **_) -> str:
        path = _find_checkpoint(checkpoint)
        return f"{path}:{path.stat().st_mtime_ns}" if path.is_file() else ""

    def load(self, checkpoint: str, precision: str, content_strength: float, motion_strength: float) -> tuple:
        import torch
        from comfy import model_management

        from ..layerflow_core.model.loading import load_model

        on_cpu = model_management.get_torch_device().type == "cpu"
        dtypes = {"auto": torch.float32 if on_cpu else torch.bfloat16, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        model = load_model(_find_checkpoint(checkpoint), dtypes[precision])
        model.set_strengths(content_strength, motion_strength)
        return (model,)
