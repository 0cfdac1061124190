"""LoadLayers: layers from disk."""

from __future__ import annotations

import torch

from ..layerflow_core.layer_files.loading import load_layers
from ..layerflow_core.layer_files.stored_pixels import ALPHA_KINDS
from ..layerflow_core.video.files import AUTO, COLOURS, FrameSelection
from .host import CATEGORY
from .images import (
    LAYER_NAMES,
    LAYER_TOOLTIPS,
    LAYER_TYPES,
    LAYERS,
    LAYERS_TOOLTIP,
    to_image,
    to_outputs,
)
from .layer_sources import find_source, fingerprint, list_sources

NONE = "none"


class LoadLayers:
    """A saved set, or any video, image or folder of images with alpha."""

    DISPLAY_NAME = "LayerFlow Load Layers"
    CATEGORY = f"{CATEGORY}/files"
    SEARCH_ALIASES = [
        "layers",
        "transparent",
        "rgba",
        "exr",
        "prores",
        "psd",
        "png sequence",
        "import",
    ]
    DESCRIPTION = (
        "Loads what SaveLayers wrote, or any video, image or sequence with alpha, also "
        "VP9's; colour and matte may be two files. Looks into ComfyUI's input and output "
        "folders."
    )
    RETURN_TYPES = (*LAYER_TYPES, LAYERS, "IMAGE")
    RETURN_NAMES = (*LAYER_NAMES, "layers", "residual")
    OUTPUT_TOOLTIPS = (
        *LAYER_TOOLTIPS,
        LAYERS_TOOLTIP,
        "What the blended scene has beyond its layers; black where the files have none.",
    )
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        def number(tooltip: str, default: int = 0, least: int = 0) -> tuple:
            return ("INT", {"default": default, "min": least, "max": 100000, "tooltip": tooltip})

        files = list_sources()
        return {
            "required": {
                "source": (
                    files or [NONE],
                    {
                        "tooltip": "A folder that SaveLayers wrote, a folder of images, or a "
                        "file. Press R after adding files."
                    },
                ),
                "matte": (
                    [NONE, *files],
                    {
                        "default": NONE,
                        "tooltip": "Another file whose alpha, or brightness, is the alpha of 'source'.",
                    },
                ),
                "alpha": (
                    ALPHA_KINDS,
                    {
                        "default": ALPHA_KINDS[0],
                        "tooltip": "What the file's colour is. A saved set says it itself.",
                    },
                ),
                "start": number("First frame."),
                "count": number("Frames at most; 0: all."),
                "every": number("Every N-th frame.", 1, 1),
                "width": number("To be resized to; 0: as it is, or in proportion to 'height'."),
                "height": number("To be resized to; 0: as it is, or in proportion to 'width'."),
            },
            "optional": {
                "fps": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 240.0,
                        "step": 0.001,
                        "tooltip": "Resample to this rate by the frames' own times, for clips "
                        "with a variable rate. 0: all frames as they come.",
                    },
                ),
                "colours": (
                    list(COLOURS),
                    {
                        "default": AUTO,
                        "tooltip": "Which matrix a video has that does not say so. auto: BT.709 "
                        "from 720 lines on, BT.601 below, as players take it.",
                    },
                ),
                "keep_what_is_there": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Of a damaged or cut file load the frames that can be read, "
                        "with a warning, instead of refusing it.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, source: str, matte: str) -> bool | str:
        # Names are checked when the file is opened: a list made at start-up does not know what was saved since.
        return True

    @classmethod
    def IS_CHANGED(cls, source: str, matte: str, **_) -> str:
        return ";".join(fingerprint(name) for name in (source, matte))

    def load(
        self,
        source,
        matte,
        alpha,
        start,
        count,
        every,
        width,
        height,
        fps=0.0,
        colours=AUTO,
        keep_what_is_there=False,
    ) -> tuple:
        selection = FrameSelection(
            start, every, count, width, height, fps, colours, keep_what_is_there
        )
        matte_path = None if matte == NONE else find_source(matte)
        layers = load_layers(find_source(source), selection, matte_path, alpha)
        residual = (
            torch.zeros_like(layers.foreground) if layers.residual is None else layers.residual
        )
        return (*to_outputs(layers), layers, to_image(residual))
