"""LayerSampler: prompts, and layers that are given, to all layers."""

from __future__ import annotations

from ..layerflow_core.footage import fit_given
from ..layerflow_core.pipeline import Run, make_layers
from .host import CATEGORY, comfy_host
from .images import LAYER_NAMES, LAYER_TOOLTIPS, LAYER_TYPES, LAYERS, LAYERS_TOOLTIP, to_outputs
from .sampling_inputs import SAMPLING_INPUTS, read_settings


class LayerSampler:
    """Generates every layer that is not given."""

    DISPLAY_NAME = "LayerFlow Sampler"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Generates transparent foreground, background and blended scene in one pass. With 'given' "
        "from ConditionLayer it generates only the layers that are missing."
    )
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = (
        (*LAYER_TYPES, LAYERS),
        (*LAYER_NAMES, "layers"),
        (*LAYER_TOOLTIPS, LAYERS_TOOLTIP),
    )
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
                    "LAYERFLOW_GIVEN",
                    {
                        "tooltip": "Layers that are already there, from ConditionLayer. They come back untouched."
                    },
                )
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def sample(
        self, model, prompts, seed, steps, guidance, scale, solver, given=None, node_id=None
    ) -> tuple:
        host = comfy_host(node_id)
        layers = {}
        if given is not None:
            layers = fit_given(
                model, given.layers_for(model.config.layout), given.fit, given.timing, host
            )
        run = Run(
            prompts, layers, read_settings(model, layers, steps, guidance, scale, solver), seed
        )
        made = make_layers(model, run, host)
        return (*to_outputs(made), made)
