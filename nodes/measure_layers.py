"""MeasureLayers: how good layers are, as figures, as a chart, and as a choice between two results."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from ..layerflow_core.evaluation.chart import draw_chart
from ..layerflow_core.evaluation.measures import (
    Figures,
    choosing_names,
    default_names,
    is_better,
    measure_sample,
    score_of,
)
from ..layerflow_core.evaluation.sample import Sample
from ..layerflow_core.evaluation.tables import list_figures
from ..layerflow_core.layers import LayerVideo
from ..layerflow_core.video.png import write_png
from .host import CATEGORY
from .images import LAYERS, LAYERS_FROM, to_image

_RESULT, _RIVAL = "layers", "rival"


class MeasureLayers:
    """Whether layers make their blended scene, flicker, or differ from the truth; and which of two is better."""

    DISPLAY_NAME = "LayerFlow Measure Layers"
    CATEGORY = f"{CATEGORY}/files"
    SEARCH_ALIASES = ["evaluate", "quality", "metrics", "psnr", "ssim", "best of seeds"]
    DESCRIPTION = (
        "Measures layers: recomposition against the blended scene, flicker, and with 'truth' the "
        "errors of alpha, foreground and background. With 'rival' the better of both goes on, so "
        "a chain of these nodes picks the best of several seeds."
    )
    RETURN_TYPES = (LAYERS, "FLOAT", "STRING", "IMAGE")
    RETURN_NAMES = ("best", "score", "figures", "chart")
    OUTPUT_TOOLTIPS = (
        "The layers; with 'rival' the better of both.",
        "Value of the chosen measure of what goes out at 'best'.",
        "All figures of 'layers' as JSON.",
        "The figures as a picture.",
    )
    FUNCTION = "measure"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "layers": (LAYERS, {"tooltip": LAYERS_FROM}),
                "choose_by": (
                    choosing_names(),
                    {
                        "tooltip": "Measure that is given as 'score' and that chooses between "
                        "'layers' and 'rival'. Those of alpha errors, foreground, grounds and background need 'truth'."
                    },
                ),
            },
            "optional": {
                "rival": (
                    LAYERS,
                    {"tooltip": "Another result, such as 'best' of another MeasureLayers."},
                ),
                "truth": (
                    LAYERS,
                    {"tooltip": "The true layers, of the same frames and size, to compare with."},
                ),
            },
        }

    def measure(self, layers, choose_by, rival=None, truth=None) -> dict:
        figures = {_RESULT: _measure(layers, truth)}
        best = layers
        score = score_of(figures[_RESULT], choose_by, "'layers'")
        if rival is not None:
            figures[_RIVAL] = _measure(rival, truth)
            other = score_of(figures[_RIVAL], choose_by, "'rival'")
            if is_better(choose_by, other, score):
                best = rival
                score = other
        chart = draw_chart(figures)
        texts = [f"{name}\n{list_figures(one)}" for name, one in figures.items()]
        values = json.dumps(dict(figures[_RESULT].values))
        return {
            "ui": {"layerflow_figures": texts, "images": [_show(chart)]},
            "result": (best, score, values, to_image(chart)),
        }


def _measure(layers: LayerVideo, truth: LayerVideo | None) -> Figures:
    sample = Sample(layers.held(), None if truth is None else truth.held())
    return measure_sample(sample, default_names(truth is not None, by_network=False))


def _show(chart) -> dict:
    """A picture that ComfyUI shows on the node, in its temporary folder."""
    import folder_paths

    name = f"layerflow_measures_{uuid.uuid4().hex}.png"
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    write_png(folder / name, chart[0])
    return {"filename": name, "subfolder": "", "type": "temp"}
