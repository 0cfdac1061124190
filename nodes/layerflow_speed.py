"""LayerFlowSpeed: how the transformer computes, and what may be left out."""

from __future__ import annotations

from ..layerflow_core.inference import ComputeOptions, with_approximations, with_compute
from ..layerflow_core.model.kernels import AUTO, KERNELS
from .comfy_flags import choose_kernel
from .host import CATEGORY


class LayerFlowSpeed:
    """A model that computes in another way, or leaves out what hardly shows."""

    DISPLAY_NAME = "LayerFlow Speed"
    CATEGORY = f"{CATEGORY}/model"
    SEARCH_ALIASES = ["speed", "attention", "sageattention", "torch compile", "step cache"]
    DESCRIPTION = (
        "Optional. What is exact is on by itself; here are a compiled transformer, another "
        "kernel of attention, and two ways to leave out work at a small error. The model that "
        "comes in stays as it is."
    )
    RETURN_TYPES = ("LAYERFLOW_MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The faster model, for LayerSampler and DecomposeVideo.",)
    FUNCTION = "speed"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": ("LAYERFLOW_MODEL", {"tooltip": "From LoadLayerFlow or LayerFlowLoRA."}),
                "attention": (
                    [AUTO, *KERNELS],
                    {
                        "default": AUTO,
                        "tooltip": "Kernel of attention. auto: the fastest exact one here. "
                        "sage: SageAttention, if installed; 8 bits, not exact.",
                    },
                ),
                "compile": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "torch.compile: a minute more at the first step, faster "
                        "steps afterwards. Exact to rounding. Not with fp8.",
                    },
                ),
                "step_cache": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "Not exact. Skips most of a step whose layers changed by "
                        "less than this share since the last computed one. 0: off. The help page has the errors.",
                    },
                ),
                "guidance_margin": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 10.0,
                        "step": 0.05,
                        "tooltip": "Not exact. Leaves out the unconditional branch where "
                        "guidance weighs less than 1 + this. 0: off.",
                    },
                ),
            },
            "optional": {
                "allow_8bit_attention": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Not exact. Lets auto take SageAttention where it is "
                        "installed and runs on this card.",
                    },
                ),
            },
        }

    def speed(
        self,
        model,
        attention: str,
        compile: bool,
        step_cache: float,
        guidance_margin: float,
        allow_8bit_attention: bool = False,
    ) -> tuple:
        from comfy import model_management

        how = ComputeOptions(choose_kernel(attention), compile, allow_8bit_attention)
        faster = with_compute(model, how, model_management.get_torch_device())
        return (with_approximations(faster, step_cache, guidance_margin),)
