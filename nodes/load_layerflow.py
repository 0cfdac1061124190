"""LoadLayerFlow: a checkpoint by name, and the parts it needs from wherever they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..layerflow_core.config import ModelConfig
from ..layerflow_core.inference import ComputeOptions, LoadOptions, load_for_inference
from ..layerflow_core.model.kernels import AUTO as AUTO_KERNEL
from ..layerflow_core.runtime.precision import AUTO_PRECISION, PRECISIONS
from ..layerflow_core.toy.embedded import EMBEDDED, EMBEDDED_NAME
from ..layerflow_core.weights.components import Components
from .comfy_flags import choose_kernel, choose_precisions
from .host import CATEGORY
from .model_files import (
    AUTO,
    CHECKPOINTS,
    TEXT_ENCODER,
    VAE,
    find_file,
    find_part,
    find_tokenizer,
    list_parts,
    stamp,
    stamp_part,
)


class LoadLayerFlow:
    """Loads a LayerFlow checkpoint; the embedded model needs no download."""

    DISPLAY_NAME = "LayerFlow Load Model"
    CATEGORY = f"{CATEGORY}/model"
    SEARCH_ALIASES = ["layerflow model", "checkpoint", "layered video", "cogvideox"]
    DESCRIPTION = (
        "Loads a LayerFlow model. The embedded one knows a small procedural world and needs "
        "no download; official checkpoints, converted or as they were downloaded, belong into "
        "models/layerflow."
    )
    RETURN_TYPES = ("LAYERFLOW_MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model, for LayerSampler and DecomposeVideo.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        import folder_paths

        files = folder_paths.get_filename_list(CHECKPOINTS)
        return {
            "required": {
                "checkpoint": (
                    [EMBEDDED_NAME, *files],
                    {
                        "tooltip": "The embedded model, or a file in models/layerflow: one made "
                        "by `layerflow convert`, or an official one as it was downloaded."
                    },
                ),
                "precision": (
                    PRECISIONS,
                    {
                        "default": AUTO_PRECISION,
                        "tooltip": "auto: what ComfyUI's flags say, else bf16 on a card that has it, "
                        "else fp16 where that is fast, else fp32. fp8: the transformer's matrices "
                        "in 8 bits, computing in bf16; half the memory, some precision. fp8_fast: its "
                        "products in 8 bits too, on NVIDIA cards from Ada (RTX 40) on.",
                    },
                ),
                "content_strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 2.0,
                        "step": 0.05,
                        "tooltip": "Content LoRA, 1 = as trained. No effect on a checkpoint without one.",
                    },
                ),
                "motion_strength": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 2.0,
                        "step": 0.05,
                        "tooltip": "Motion LoRA, off (0) at inference as in the paper; 1 makes the layers stand still.",
                    },
                ),
            },
            "optional": {
                "text_encoder": (
                    [AUTO, *list_parts(TEXT_ENCODER)],
                    {
                        "default": AUTO,
                        "tooltip": "T5 v1.1 XXL (not Flan-T5). auto: the checkpoint's own, else "
                        "one found in models/CogVideo or models/text_encoders, also in other "
                        "roots of extra_model_paths.yaml.",
                    },
                ),
                "vae": (
                    [AUTO, *list_parts(VAE)],
                    {
                        "default": AUTO,
                        "tooltip": "CogVideoX-2B's VAE (not that of 5B or 1.5). auto: the "
                        "checkpoint's own, else one found in models/CogVideo or models/vae, "
                        "also in other roots of extra_model_paths.yaml.",
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, checkpoint: str, text_encoder: str = AUTO, vae: str = AUTO, **_) -> str:
        own = stamp(find_checkpoint(checkpoint))
        if checkpoint == EMBEDDED_NAME and text_encoder == vae == AUTO:
            return own
        return f"{own} {stamp_part(TEXT_ENCODER, text_encoder)} {stamp_part(VAE, vae)}"

    def load(
        self,
        checkpoint: str,
        precision: str,
        content_strength: float,
        motion_strength: float,
        text_encoder: str = AUTO,
        vae: str = AUTO,
    ) -> tuple:
        from comfy import model_management

        path = find_checkpoint(checkpoint)
        device = model_management.get_torch_device()
        options = LoadOptions(
            **choose_precisions(precision),
            content=content_strength,
            motion=motion_strength,
            compute=ComputeOptions(choose_kernel(AUTO_KERNEL)),
        )
        find_parts = partial(_find_parts, text_encoder, vae)
        return (load_for_inference(path, device, options, find_parts),)


def find_checkpoint(name: str) -> Path:
    """A checkpoint of the list; raises CheckpointError for any other name."""
    return EMBEDDED if name == EMBEDDED_NAME else find_file(CHECKPOINTS, name)


def _find_parts(text_encoder: str, vae: str, config: ModelConfig) -> Components:
    """Parts that are named, or that the checkpoint lacks."""
    t5 = vae_file = None
    if text_encoder != AUTO or not config.text_encoder:
        t5 = find_part(TEXT_ENCODER, text_encoder, config.network)
    if vae != AUTO or not config.vae:
        vae_file = find_part(VAE, vae, config.network)
    return Components(t5, find_tokenizer(t5), vae_file)
