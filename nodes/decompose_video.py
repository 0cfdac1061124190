"""DecomposeVideo: footage to layers."""

from __future__ import annotations

from ..layerflow_core.footage import decompose
from ..layerflow_core.layout import BLENDED
from ..layerflow_core.video.frames import FITS
from .host import CATEGORY, comfy_host
from .images import (
    LAYER_NAMES,
    LAYER_TOOLTIPS,
    LAYER_TYPES,
    LAYERS,
    LAYERS_TOOLTIP,
    to_frames,
    to_outputs,
)
from .sampling_inputs import SAMPLING_INPUTS, read_run


class DecomposeVideo:
    """Decomposes a video of any size and length."""

    DISPLAY_NAME = "LayerFlow Decompose Video"
    CATEGORY = f"{CATEGORY}/sample"
    SEARCH_ALIASES = [
        "matte",
        "matting",
        "remove background",
        "background removal",
        "omnimatte",
        "layer decomposition",
        "extract foreground",
        "green screen",
        "inpaint background",
        "clean plate",
    ]
    DESCRIPTION = (
        "Decomposes a video into a transparent foreground and a clean background. Any size, two "
        "frames or more; what comes out has exactly the frames and size that went in."
    )
    RETURN_TYPES = (*LAYER_TYPES, LAYERS)
    RETURN_NAMES = (*LAYER_NAMES, "layers")
    OUTPUT_TOOLTIPS = (*LAYER_TOOLTIPS, LAYERS_TOOLTIP)
    FUNCTION = "decompose"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": ("LAYERFLOW_MODEL", {"tooltip": "From LoadLayerFlow."}),
                "images": ("IMAGE", {"tooltip": "The video, as a batch of frames."}),
                "prompts": (
                    "LAYERFLOW_PROMPTS",
                    {
                        "tooltip": "What the foreground and the background show; 'blended' may stay empty."
                    },
                ),
                **SAMPLING_INPUTS,
                "fit": (
                    FITS,
                    {
                        "default": "pad",
                        "tooltip": "How frames of another size reach the model's. pad keeps all "
                        "of the image and its aspect.",
                    },
                ),
                "overlap": (
                    "INT",
                    {
                        "default": 4,
                        "min": 0,
                        "max": 15,
                        "tooltip": "Longer videos run in windows; this many frames of neighbours are cross-faded.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 8.0,
                        "min": 0.1,
                        "max": 240.0,
                        "step": 0.01,
                        "tooltip": "Frame rate of the video, handed on to 'fps'. Connect GetVideoComponents' fps.",
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def decompose(
        self, model, images, prompts, fit, overlap, fps, node_id=None, **widgets
    ) -> tuple:
        run = read_run(model, prompts, {}, (BLENDED,), widgets)
        frames, _ = to_frames(images)
        made = decompose(model, frames, run, fps, fit, overlap, comfy_host(node_id))
        return (*to_outputs(made), made)
