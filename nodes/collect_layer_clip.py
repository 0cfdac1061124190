"""CollectLayerClip: layers of any graph into a training dataset."""

from __future__ import annotations

from ..layerflow_core.errors import DatasetError
from ..layerflow_core.layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ..layerflow_core.names import check_name
from ..layerflow_core.rates import read_rate
from ..layerflow_core.training.data.clip_folder import LayerClip, write_clip
from .host import CATEGORY
from .images import ALPHA_MEANINGS, to_alpha, to_frames
from .output_folder import output_folder, replace_dates


class CollectLayerClip:
    """Appends one layered clip to a dataset folder for training."""

    DISPLAY_NAME = "LayerFlow Collect Layer Clip"
    CATEGORY = f"{CATEGORY}/training"
    SEARCH_ALIASES = ["dataset", "training clip", "collect"]
    DESCRIPTION = (
        "Appends a layered clip to a dataset in ComfyUI's output folder, for `layerflow "
        "train`. Masks, inpainted backgrounds and captions may come from any nodes."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("folder",)
    OUTPUT_TOOLTIPS = ("The new clip's folder.",)
    FUNCTION = "collect"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        def text(layer: str) -> tuple:
            return (
                "STRING",
                {
                    "multiline": True,
                    "default": "",
                    "tooltip": f"Describes the {layer}. Must not be empty. A captioner's output fits.",
                },
            )

        return {
            "required": {
                "foreground": (
                    "IMAGE",
                    {
                        "tooltip": "Colour of the foreground, straight. For a coarse clip: the footage itself."
                    },
                ),
                "alpha": (
                    "MASK",
                    {
                        "tooltip": "Alpha of the foreground, soft or binary, e.g. a segmentation mask."
                    },
                ),
                "background": (
                    "IMAGE",
                    {
                        "tooltip": "The scene without the foreground, e.g. inpainted footage. "
                        "One image serves all frames."
                    },
                ),
                "foreground_prompt": text("foreground"),
                "background_prompt": text("background"),
                "blended_prompt": text("whole scene"),
                "dataset": (
                    "STRING",
                    {
                        "default": "layerflow_dataset",
                        "tooltip": "Folder in ComfyUI's output folder; made if it is not there.",
                    },
                ),
                "name": (
                    "STRING",
                    {"default": "clip", "tooltip": "Of the clip; a number is added."},
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 8.0,
                        "min": 0.1,
                        "max": 240.0,
                        "step": 0.001,
                        "tooltip": "Frames per second.",
                    },
                ),
                "alpha_is": (
                    ALPHA_MEANINGS,
                    {
                        "default": ALPHA_MEANINGS[0],
                        "tooltip": "What 1 means in the MASK at 'alpha'. Segmentation masks and "
                        "LayerFlow's 'alpha': opaque.",
                    },
                ),
            },
            "optional": {
                "blended": (
                    "IMAGE",
                    {
                        "tooltip": "The footage, where it is more than foreground over "
                        "background: shadows, reflections."
                    },
                )
            },
        }

    def collect(
        self,
        foreground,
        alpha,
        background,
        foreground_prompt,
        background_prompt,
        blended_prompt,
        dataset,
        name,
        fps,
        alpha_is,
        blended=None,
    ) -> tuple:
        colour = to_frames(foreground, FOREGROUND)[0]
        matte = to_alpha(alpha, alpha_is)
        layers = {
            FOREGROUND: colour,
            ALPHA: matte,
            BACKGROUND: to_frames(background, BACKGROUND)[0],
        }
        if blended is not None:
            layers[BLENDED] = to_frames(blended, BLENDED)[0]
        prompts = {
            FOREGROUND: foreground_prompt,
            BACKGROUND: background_prompt,
            BLENDED: blended_prompt,
        }
        folder = output_folder() / check_name(replace_dates(dataset), "dataset", DatasetError)
        name = check_name(replace_dates(name), "clip name", DatasetError)
        clip = write_clip(
            folder, LayerClip(name, layers, prompts, read_rate(fps, "fps", DatasetError))
        )
        return {"ui": {"text": [str(clip)]}, "result": (str(clip),)}
