"""SaveLayers: files that keep alpha."""

from __future__ import annotations

from pathlib import Path

from ..layerflow_core.errors import VideoFileError
from ..layerflow_core.layer_files.record import ALPHA_KINDS
from ..layerflow_core.layer_files.saving import FORMATS, OPAQUE, Saving, save_layers
from ..layerflow_core.layers import LayerVideo
from .host import CATEGORY
from .images import LAYERS, LAYERS_FROM


class SaveLayers:
    """Writes a new folder with all layers and ``layers.json``."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Saves layers for Nuke, After Effects, Resolve and Photoshop: a new folder in ComfyUI's output with a file for every layer, or one for all, and layers.json. Never overwrites. Drop a saved video or picture on the canvas to get the graph back."
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = ("STRING",), ("folder",), ("The new folder.",)
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "layers": (LAYERS, {"tooltip": LAYERS_FROM}),
                "filename_prefix": ("STRING", {"default": "layerflow/layers", "tooltip": "Folder and name in ComfyUI's output; a number is added. %date:yyyy-MM-dd% and the other patterns work."}),
                "format": (FORMATS, {"default": FORMATS[0], "tooltip": "Of the foregrounds, with alpha. OpenEXR holds every layer of a frame in one file, in half floats; PSD every layer of one frame."}),
                "opaque": (list(OPAQUE), {"default": "H.264 (.mp4)", "tooltip": "Of background, blended scene and residual, unless 'format' holds all layers."}),
                "alpha": (ALPHA_KINDS, {"default": ALPHA_KINDS[0], "tooltip": "straight: After Effects, Resolve, Photoshop. premultiplied: what Nuke's Merge expects."}),
                "fps": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 240.0, "step": 0.001, "tooltip": "Frames a second; 23.976 becomes 24000/1001. 0: the layers' own."}),
                "frame": ("INT", {"default": 0, "min": 0, "max": 100000, "tooltip": "Of a PSD."}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }  # fmt: skip

    def save(self, layers, filename_prefix, format, opaque, alpha, fps, frame, prompt=None, extra_pnginfo=None) -> dict:
        import folder_paths

        notes = {**({"prompt": prompt} if prompt is not None else {}), **(extra_pnginfo or {})}
        how, root = Saving(format, opaque, alpha, frame), Path(folder_paths.get_output_directory())
        folder = _next_folder(filename_prefix, root, layers)
        paths = save_layers(folder, layers, how, fps or None, notes)
        shown = [{"filename": path.name, "subfolder": str(path.parent.relative_to(root)), "type": "output"} for path in _files(paths)]
        return {"ui": {"layerflow_saved": shown}, "result": (str(folder),)}


def _next_folder(prefix: str, root: Path, layers: LayerVideo) -> Path:
    import folder_paths

    place = Path(prefix.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or not place.name:
        raise VideoFileError(f"filename prefix {prefix!r} met, expected a name within ComfyUI's output folder, such as layerflow/layers")
    height, width = layers.foreground.shape[2:]
    try:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(root), width, height)
    except OSError as error:
        raise VideoFileError(f"{root / place} cannot be written: {error}") from error
    return Path(folder, f"{name}_{counter:05d}")


def _files(paths: list[Path]) -> list[Path]:
    """The first picture of a sequence stands for all of them."""
    return [sorted(path.iterdir())[0] if path.is_dir() else path for path in paths]
