"""LoadLayers: layers from disk."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch

from ..layerflow_core.errors import VideoFileError
from ..layerflow_core.layer_files.loading import load_layers
from ..layerflow_core.layer_files.record import ALPHA_KINDS, RECORD
from ..layerflow_core.video.files import PICTURES, VIDEOS, Pick
from .host import CATEGORY
from .images import LAYER_NAMES, LAYER_TOOLTIPS, LAYER_TYPES, LAYERS, LAYERS_TOOLTIP, to_image, to_outputs

NONE = "none"
_SUFFIXES = PICTURES | VIDEOS | {".psd"}
_MOST, _LOOKED_AT = 2000, 20000  # names a list can be used with; files that are looked at for it


class LoadLayers:
    """A saved set, or any video, picture or folder of pictures with alpha."""

    CATEGORY = CATEGORY
    DESCRIPTION = "Loads what SaveLayers wrote, or any video, picture or sequence with alpha, also VP9's; colour and matte may be two files. Looks into ComfyUI's input and output folders."
    RETURN_TYPES = (*LAYER_TYPES, LAYERS, "IMAGE")
    RETURN_NAMES = (*LAYER_NAMES, "layers", "residual")
    OUTPUT_TOOLTIPS = (*LAYER_TOOLTIPS, LAYERS_TOOLTIP, "What the blended scene has beyond its layers; black where the files have none.")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        def number(tooltip: str, default: int = 0, least: int = 0) -> tuple:
            return ("INT", {"default": default, "min": least, "max": 100000, "tooltip": tooltip})

        files = _list_sources()
        return {
            "required": {
                "source": (files or [NONE], {"tooltip": "A folder that SaveLayers wrote, a folder of pictures, or a file. Press R after adding files."}),
                "matte": ([NONE, *files], {"default": NONE, "tooltip": "Another file whose alpha, or brightness, is the alpha of 'source'."}),
                "alpha": (ALPHA_KINDS, {"default": ALPHA_KINDS[0], "tooltip": "What the file's colour is. A saved set says it itself."}),
                "start": number("First frame."),
                "count": number("Frames at most; 0: all."),
                "every": number("One in so many frames.", 1, 1),
                "width": number("To be resized to; 0: as it is, or in proportion to 'height'."),
                "height": number("To be resized to; 0: as it is, or in proportion to 'width'."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, source: str, matte: str) -> bool | str:
        # Names are checked when the file is opened: a list made at start-up does not know what was saved since.
        return True

    @classmethod
    def IS_CHANGED(cls, source: str, matte: str, **_) -> str:
        return ";".join(_state(name) for name in (source, matte))

    def load(self, source, matte, alpha, start, count, every, width, height) -> tuple:
        pick = Pick(start, every, count, width, height)
        layers = load_layers(_find(source), pick, None if matte == NONE else _find(matte), alpha)
        residual = torch.zeros_like(layers.foreground) if layers.residual is None else layers.residual
        return (*to_outputs(layers), layers, to_image(residual))


def _roots() -> dict[str, Path]:
    import folder_paths

    return {"input": Path(folder_paths.get_input_directory()), "output": Path(folder_paths.get_output_directory())}


def _list_sources() -> list[str]:
    """``name [input]`` or ``name [output]``: saved sets, folders of pictures in the input, and files."""
    found = []
    for kind, root in _roots().items():
        paths = list(islice(root.rglob("*"), _LOOKED_AT))
        sets = {path.parent for path in paths if path.name == RECORD}
        files = [path for path in paths if path.suffix.lower() in _SUFFIXES and not sets & set(path.parents)]
        folders = {path.parent for path in files if kind == "input" and path.parent != root and path.suffix.lower() in PICTURES}
        found += sorted(f"{path.relative_to(root).as_posix()} [{kind}]" for path in (*sets, *folders, *files))
    return found[:_MOST]


def _find(name: str) -> Path:
    """Where a listed name lies; raises VideoFileError for one that is not there, or that leads out of the folders."""
    base, _, kind = name.rpartition(" [")
    root = _roots().get(kind.rstrip("]"))
    path = root / base if root and base else None
    if path is None or not path.resolve().is_relative_to(root.resolve()) or not path.exists():
        raise VideoFileError(f"{name!r} is not there, expected a file or folder in ComfyUI's input or output; press R to list them anew")
    return path


def _state(name: str) -> str:
    try:
        path = _find(name)
    except VideoFileError:
        return name
    return f"{path}:{(path / RECORD if (path / RECORD).is_file() else path).stat().st_mtime_ns}"
