"""As much of ComfyUI as the nodes that save need: its folders and its flags."""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import cache
from pathlib import Path

PACK = Path(__file__).parents[2]
_NAME = "layerflow_pack_under_abuse"


@cache
def load_nodes(output: Path) -> dict[str, type]:
    """The pack's nodes, imported from its path as ComfyUI does it.

    Args:
        output: ComfyUI's output folder.
    """
    _stand_in(output.resolve())
    init = PACK / "__init__.py"
    places = [str(PACK)]
    spec = importlib.util.spec_from_file_location(_NAME, init, submodule_search_locations=places)
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
    return module.NODE_CLASS_MAPPINGS


def _stand_in(output: Path) -> None:
    paths = types.ModuleType("folder_paths")
    paths.models_dir = str(output.parent)
    paths.folder_names_and_paths = {}
    paths.get_output_directory = lambda: str(output)
    paths.get_input_directory = lambda: str(output)
    paths.get_save_image_path = _find_save_path
    flags = types.ModuleType("comfy.cli_args")
    flags.args = types.SimpleNamespace(disable_metadata=False)
    comfy = types.ModuleType("comfy")
    comfy.cli_args = flags
    sys.modules |= {"folder_paths": paths, "comfy": comfy, "comfy.cli_args": flags}


def _find_save_path(prefix: str, root: str, width: int = 0, height: int = 0) -> tuple:
    """As ComfyUI's: it makes the folder, and counts from what is there."""
    folder = (Path(root) / prefix).parent
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(prefix).name
    return str(folder), name, 1, str(Path(prefix).parent), prefix
