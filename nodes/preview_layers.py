"""PreviewLayers: a layer stack in the node."""

from __future__ import annotations

import uuid
from pathlib import Path

from ..layerflow_core.player_frames import write_player_frames
from .host import CATEGORY
from .images import LAYERS, LAYERS_FROM, LAYERS_TOOLTIP

_FOLDER = "layerflow_preview"


class PreviewLayers:
    """Plays layers on the node: solo, mute, opacity, order, matte, wipe."""

    CATEGORY = CATEGORY
    DESCRIPTION = "A player of layers: scrub, play, solo, mute, opacity and order of each, matte view, wipe between the layers and the blended scene, pixel values under the pointer."
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = (LAYERS,), ("layers",), (LAYERS_TOOLTIP,)
    FUNCTION = "preview"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "layers": (LAYERS, {"tooltip": LAYERS_FROM}),
                "longest_side": ("INT", {"default": 720, "min": 64, "max": 4096, "step": 8, "tooltip": "Pixels of the player's pictures; larger layers are shown smaller."}),
            }
        }

    def preview(self, layers, longest_side: int) -> dict:
        import folder_paths

        run = uuid.uuid4().hex
        folder = Path(folder_paths.get_temp_directory(), _FOLDER, run)
        folder.mkdir(parents=True)
        shown = write_player_frames(folder, layers, longest_side)
        where = {"subfolder": f"{_FOLDER}/{run}", "type": "temp", "run": run}
        frames = [{"filename": name, **where} for name in shown["frames"]]
        return {"ui": {"layerflow_preview": [{**shown, "frames": frames}]}, "result": (layers,)}
