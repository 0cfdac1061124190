"""PreviewLayers: a layer stack in the node."""

from __future__ import annotations

import uuid
from pathlib import Path

from ..layerflow_core.editing.arrangement import arrange, read_arrangement
from ..layerflow_core.layer_files.player_frames import write_player_frames
from .host import CATEGORY
from .images import LAYERS, LAYERS_FROM, LAYERS_TOOLTIP
from .preview_folders import FOLDER, PreviewFolders

_FOLDERS = PreviewFolders()


class PreviewLayers:
    """Plays layers on the node: solo, mute, opacity, order, matte, wipe; hands on what is seen, if it is baked."""

    DISPLAY_NAME = "LayerFlow Preview Layers"
    CATEGORY = f"{CATEGORY}/files"
    SEARCH_ALIASES = ["player", "view layers", "play video", "transparent", "checkerboard", "matte"]
    DESCRIPTION = (
        "A player of layers: scrub, play, solo, mute, opacity and order of each, matte view, "
        "wipe between the layers and the blended scene, pixel values under the pointer."
    )
    RETURN_TYPES = (LAYERS,)
    RETURN_NAMES = ("layers",)
    OUTPUT_TOOLTIPS = (
        f"{LAYERS_TOOLTIP} As they came; with 'bake', in the player's order, with its opacity "
        "and without what is muted.",
    )
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
            "optional": {
                "bake": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "The output takes on the player's order, opacity, mute and solo. The "
                        "blended scene is left out then, since it is of the layers as they were.",
                    },
                ),
                "arrangement": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "What is baked; the player writes it: a JSON list of layers, lowest "
                        'first, such as [{"name": "background"}, {"name": "foreground", "opacity": 0.5}].',
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def preview(
        self,
        layers,
        longest_side: int,
        bake: bool = False,
        arrangement: str = "",
        node_id: str | None = None,
    ) -> dict:
        import folder_paths

        baked = arrange(layers, read_arrangement(arrangement)) if bake else layers
        root = Path(folder_paths.get_temp_directory())
        with _FOLDERS.making(root, str(node_id), _run_id()) as partial:
            shown = write_player_frames(partial, layers, longest_side)
        place = {"subfolder": f"{FOLDER}/{_FOLDERS.newest.name}", "frames": len(shown["frames"])}
        return {"ui": {"layerflow_preview": [{**shown, **place}]}, "result": (baked,)}


def _run_id() -> str:
    """Of the run that ComfyUI executes; one of its own where there is no server."""
    try:
        from server import PromptServer
    except ImportError:
        return uuid.uuid4().hex
    return str(PromptServer.instance.last_prompt_id)
