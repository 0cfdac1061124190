"""LayerSampler: prompts, and layers that are given, to all layers."""

from __future__ import annotations

from ..layerflow_core.footage import fit_conditions
from ..layerflow_core.pipeline import make_layers
from .condition_layer import GIVEN
from .host import CATEGORY, comfy_host
from .images import LAYER_NAMES, LAYER_TOOLTIPS, LAYER_TYPES, LAYERS, LAYERS_TOOLTIP, to_outputs
from .sampling_inputs import SAMPLING_INPUTS, read_run


class LayerSampler:
    """Generates every layer that is not given."""

    DISPLAY_NAME = "LayerFlow Sampler"
    CATEGORY = f"{CATEGORY}/sample"
    SEARCH_ALIASES = [
        "generate video",
        "transparent video",
        "text to video",
        "rgba",
        "alpha",
        "layers",
    ]
    DESCRIPTION = (
        "Generates transparent foreground, background and blended scene in one pass. With 'given' "
        "from ConditionLayer it generates only the layers that are missing."
    )
    RETURN_TYPES = (*LAYER_TYPES, LAYERS)
    RETURN_NAMES = (*LAYER_NAMES, "layers")
    OUTPUT_TOOLTIPS = (*LAYER_TOOLTIPS, LAYERS_TOOLTIP)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": ("LAYERFLOW_MODEL", {"tooltip": "From LoadLayerFlow."}),
                "prompts": ("LAYERFLOW_PROMPTS", {"tooltip": "From LayerPrompts."}),
                **SAMPLING_INPUTS,
            },
            "optional": {
                "given": (
                    GIVEN,
                    {
                        "tooltip": "Layers that are already there, from ConditionLayer. They come back untouched."
                    },
                )
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def sample(self, model, prompts, given=(), node_id=None, **widgets) -> tuple:
        host = comfy_host(node_id)
        layers = fit_conditions(model, given, host) if given else {}
        run = read_run(model, prompts, layers, layers, widgets)
        made = make_layers(model, run, host)
        return (*to_outputs(made), made)
