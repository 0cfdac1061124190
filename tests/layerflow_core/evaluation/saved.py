"""Sets on disk that evaluations are tried on."""

from __future__ import annotations

from pathlib import Path

from layerflow_core.layer_files.saving import SaveOptions, replace_layers
from layerflow_core.layers import LayerVideo

PROMPTS = {"foreground": "a red disc", "background": "stripes"}


def save(folder: Path, layers: LayerVideo) -> Path:
    """PNGs, so that figures are those of the layers to 8 bits."""
    how = SaveOptions("PNG 8 bit", "PNG 8 bit")
    replace_layers(folder, layers, how, facts={"prompts": PROMPTS})
    return folder
