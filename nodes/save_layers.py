"""SaveLayers: files that keep alpha."""

from __future__ import annotations

from pathlib import Path

from ..layerflow_core.layer_files.saving import FORMATS, OPAQUE, SaveOptions, save_layers
from ..layerflow_core.layer_files.stored_pixels import ALPHA_KINDS
from .host import CATEGORY
from .images import LAYERS, LAYERS_FROM
from .output_folder import graph_metadata, next_folders, output_folder


class SaveLayers:
    """Writes a new folder with all layers and ``layers.json``."""

    DISPLAY_NAME = "LayerFlow Save Layers"
    CATEGORY = f"{CATEGORY}/files"
    SEARCH_ALIASES = [
        "layers",
        "transparent",
        "rgba",
        "exr",
        "openexr",
        "prores",
        "prores 4444",
        "psd",
        "png sequence",
        "premultiply",
        "nuke",
        "after effects",
        "export",
        "webm",
    ]
    DESCRIPTION = (
        "Saves layers for Nuke, After Effects, Resolve and Photoshop: a new folder in "
        "ComfyUI's output with a file for every layer, or one for all, and layers.json. Never "
        "overwrites. Drop a saved video or image on the canvas to get the graph back."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("folder",)
    OUTPUT_TOOLTIPS = ("The new folder.",)
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "layers": (LAYERS, {"tooltip": LAYERS_FROM}),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "layerflow/layers",
                        "tooltip": "Folder and name in ComfyUI's output; a number is added. "
                        "%date:yyyy-MM-dd% and the other patterns work.",
                    },
                ),
                "format": (
                    FORMATS,
                    {
                        "default": FORMATS[0],
                        "tooltip": "Of the foregrounds, with alpha. OpenEXR holds every layer "
                        "of a frame in one file, in half floats; PSD every layer of one frame.",
                    },
                ),
                "opaque": (
                    list(OPAQUE),
                    {
                        "default": "H.264 (.mp4)",
                        "tooltip": "Of background, blended scene and residual, unless 'format' holds all layers.",
                    },
                ),
                "alpha": (
                    ALPHA_KINDS,
                    {
                        "default": ALPHA_KINDS[0],
                        "tooltip": "straight: After Effects, Resolve, Photoshop. premultiplied: "
                        "what Nuke's Merge expects.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 240.0,
                        "step": 0.001,
                        "tooltip": "Frames per second; 23.976 becomes 24000/1001. 0: the layers' own.",
                    },
                ),
                "frame": ("INT", {"default": 0, "min": 0, "max": 100000, "tooltip": "Of a PSD."}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(
        self,
        layers,
        filename_prefix,
        format,
        opaque,
        alpha,
        fps,
        frame,
        prompt=None,
        extra_pnginfo=None,
    ) -> dict:
        root = output_folder()
        first, *others = next_folders(filename_prefix, root, layers)
        how = SaveOptions(format, opaque, alpha, frame)
        metadata = graph_metadata(prompt, extra_pnginfo)
        paths = save_layers(first, layers, how, fps or None, metadata, others)
        shown = [_as_listed(path, root) for path in _files(paths)]
        return {"ui": {"layerflow_saved": shown}, "result": (str(paths[-1].parent),)}


def _as_listed(path: Path, root: Path) -> dict[str, str]:
    return {
        "filename": path.name,
        "subfolder": str(path.parent.relative_to(root)),
        "type": "output",
    }


def _files(paths: list[Path]) -> list[Path]:
    """The first image of a sequence stands for all of them."""
    return [sorted(path.iterdir())[0] if path.is_dir() else path for path in paths]
