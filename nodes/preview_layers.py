"""PreviewLayers: a layer stack in the node."""

from __future__ import annotations

import uuid
from pathlib import Path

from ..layerflow_core.layer_files.player_frames import write_player_frames
from .host import CATEGORY
from .images import LAYERS, LAYERS_FROM, LAYERS_TOOLTIP
from .preview_folders import FOLDER, PreviewFolders

_FOLDERS = PreviewFolders()


class PreviewLayers:
    """Plays layers on the node: solo, mute, opacity, order, matte, wipe."""

    DISPLAY_NAME = "LayerFlow Preview Layers"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A player of layers: scrub, play, solo, mute, opacity and order of each, matte view, "
        "wipe between the layers and the blended scene, pixel values under the pointer."
    )
    RETURN_TYPES = (LAYERS,)
    RETURN_NAMES = ("layers",)
    OUTPUT_TOOLTIPS = (LAYERS_TOOLTIP,)
    FUNCTION = "preview"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "layers": (LAYERS, {"tooltip": LAYERS_FROM}),
                "longest_side": (
                    "INT",
                    {
                        "default": 720,
                        "min": 64,
                        "max": 4096,
                        "step": 8,
                        "tooltip": "Pixels of the player's images; larger layers are shown smaller.",
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def preview(self, layers, longest_side: int, node_id: str | None = None) -> dict:
        import folder_paths

        root = Path(folder_paths.get_temp_directory())
        with _FOLDERS.making(root, str(node_id), _run_id()) as partial:
            shown = write_player_frames(partial, layers, longest_side)
        run = _FOLDERS.newest.name
        where = {"subfolder": f"{FOLDER}/{run}", "type": "temp", "run": run}
        frames = [{"filename": name, **where} for name in shown["frames"]]
        return {"ui": {"layerflow_preview": [{**shown, "frames": frames}]}, "result": (layers,)}


def _run_id() -> str:
    """Of the run that ComfyUI executes; one of its own where there is no server."""
    try:
        from server import PromptServer
    except ImportError:
        return uuid.uuid4().hex
    return str(PromptServer.instance.last_prompt_id)
