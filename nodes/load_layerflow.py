"""LoadLayerFlow: a checkpoint by name, and the parts it needs from wherever they are."""

from __future__ import annotations

from pathlib import Path

from ..layerflow_core.toy.embedded import EMBEDDED, EMBEDDED_NAME
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

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "fp8")


def _find_checkpoint(name: str) -> Path:
    return EMBEDDED if name == EMBEDDED_NAME else find_file(CHECKPOINTS, name)


class LoadLayerFlow:
    """Loads a LayerFlow checkpoint; the embedded model needs no download."""

    DISPLAY_NAME = "LayerFlow Load Model"
    CATEGORY = CATEGORY
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
                        "default": "auto",
                        "tooltip": "auto: fp32 on a CPU, bf16 on a GPU. fp8: the transformer's "
                        "matrices in 8 bits, computing in bf16; half the memory, some precision.",
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
        own = stamp(_find_checkpoint(checkpoint))
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
        import torch
        from comfy import model_management

        from ..layerflow_core.model.components import Components
        from ..layerflow_core.model.conversion import read_any
        from ..layerflow_core.model.inference import (
            ComputeOptions,
            prepare_for_inference,
            with_compute,
        )
        from ..layerflow_core.model.loading import assemble

        path = _find_checkpoint(checkpoint)
        data = read_any(path)
        t5 = (
            None
            if text_encoder == AUTO and data.config.text_encoder
            else find_part(TEXT_ENCODER, text_encoder, data.config.network)
        )
        vae_file = (
            None if vae == AUTO and data.config.vae else find_part(VAE, vae, data.config.network)
        )
        base = Components(t5, t5 and find_tokenizer(t5), vae_file)
        on_cpu = model_management.get_torch_device().type == "cpu"
        dtypes = {
            "auto": torch.float32 if on_cpu else torch.bfloat16,
            "fp32": torch.float32,
            "bf16": torch.bfloat16,
            "fp16": torch.float16,
            "fp8": torch.bfloat16,
        }
        model = assemble(data, dtypes[precision], path, base)
        model.set_strengths(content_strength, motion_strength)
        return (
            with_compute(
                prepare_for_inference(model, precision == "fp8"),
                ComputeOptions(),
                model_management.get_torch_device(),
            ),
        )
