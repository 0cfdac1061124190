"""SplitLayers: layers as ComfyUI's own types."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..layerflow_core.errors import FrameError
from ..layerflow_core.layers import LayerVideo
from ..layerflow_core.layout import BACKGROUND, BLENDED
from ..layerflow_core.rates import exact_rate
from .host import CATEGORY
from .images import LAYER_NAMES, LAYER_TOOLTIPS, LAYER_TYPES, LAYERS, to_image, to_outputs


class SplitLayers:
    """One foreground of a stack, and everything else, as images, masks, a VIDEO and a LAYERS document."""

    DISPLAY_NAME = "LayerFlow Split Layers"
    CATEGORY = f"{CATEGORY}/layers"
    SEARCH_ALIASES = ["layers", "unpack layers", "transparent", "alpha channel"]
    DESCRIPTION = (
        "Takes layers apart into ComfyUI's own types: IMAGE, MASK, VIDEO, and the LAYERS "
        "document of newer versions (one frame)."
    )
    RETURN_TYPES = (*LAYER_TYPES, "IMAGE", "VIDEO", "LAYERS")
    RETURN_NAMES = (*LAYER_NAMES, "residual", "video", "document")
    OUTPUT_TOOLTIPS = (
        *LAYER_TOOLTIPS,
        "What the blended scene has beyond its layers; black where nobody made it.",
        "The blended scene as a VIDEO; the recomposition where there is none, over black where nothing is behind.",
        "One frame as a LAYERS document, for ComfyUI's Add Layer and Create Layered Image (0.33 and newer).",
    )
    FUNCTION = "split"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "layers": (
                    LAYERS,
                    {"tooltip": "From LayerSampler, DecomposeVideo, LoadLayers or JoinLayers."},
                ),
                "foreground": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 64,
                        "tooltip": "Which foreground of a stack, counted from the lowest.",
                    },
                ),
                "frame": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 100000,
                        "tooltip": "Which frame goes into 'document'.",
                    },
                ),
            }
        }

    def split(self, layers, foreground: int, frame: int) -> tuple:
        layers = layers.held()
        if foreground > len(layers.foregrounds):
            raise FrameError(
                f"got foreground {foreground}, these layers have {len(layers.foregrounds)}"
            )
        if frame >= len(layers.foreground):
            raise FrameError(
                f"got frame {frame}, these layers have {len(layers.foreground)}: expected 0 to "
                f"{len(layers.foreground) - 1}"
            )
        one = replace(layers, foregrounds=(layers.foregrounds[foreground - 1],))
        residual = torch.zeros_like(one.foreground) if layers.residual is None else layers.residual
        return (
            *to_outputs(one),
            to_image(residual),
            _to_video(layers),
            _to_document(layers, frame),
        )


def _to_video(layers: LayerVideo):
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    return VideoFromComponents(
        VideoComponents(images=to_image(layers.scene()), frame_rate=exact_rate(layers.fps))
    )


def _to_document(layers: LayerVideo, frame: int) -> dict:
    """ComfyUI's LAYERS, version 1: masks are 1 where transparent."""
    opaque = [(BACKGROUND, layers.background, None)] if layers.background is not None else []
    images = [
        *opaque,
        *((layer.name, layer.colour, layer.opacity) for layer in layers.foregrounds),
    ]
    if layers.blended is not None:
        images.append((BLENDED, layers.blended, None))
    items = []
    for index, (name, colour, alpha) in enumerate(images):
        item = {
            "image": to_image(colour[frame : frame + 1]),
            "type": "raster",
            "z_index": index,
            "name": name,
            "visible": name != BLENDED,
        }
        items.append(item if alpha is None else {**item, "mask": 1 - alpha[frame]})
    height, width = layers.foreground.shape[2:]
    return {"version": 1, "canvas": (width, height), "layers": items}
