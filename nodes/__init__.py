"""The nodes. Their ids are forever: saved workflows carry them."""

from .composite_rgba import CompositeRGBA
from .condition_layer import ConditionLayer
from .decompose_video import DecomposeVideo
from .layer_prompts import LayerPrompts
from .layer_sampler import LayerSampler
from .load_layerflow import LoadLayerFlow, register_model_folder
from .sample_clip import LayerFlowSampleClip

register_model_folder()

NODE_CLASS_MAPPINGS = {
    cls.__name__: cls for cls in (LoadLayerFlow, LayerPrompts, LayerSampler, DecomposeVideo, ConditionLayer, CompositeRGBA, LayerFlowSampleClip)
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LoadLayerFlow": "LayerFlow Load Model",
    "LayerPrompts": "LayerFlow Layer Prompts",
    "LayerSampler": "LayerFlow Sampler",
    "DecomposeVideo": "LayerFlow Decompose Video",
    "ConditionLayer": "LayerFlow Condition Layer",
    "CompositeRGBA": "LayerFlow Composite RGBA",
    "LayerFlowSampleClip": "LayerFlow Sample Clip",
}
