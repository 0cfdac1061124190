"""The nodes. Their ids are forever: saved workflows carry them."""

from .collect_layer_clip import CollectLayerClip
from .composite_rgba import CompositeRGBA
from .condition_layer import ConditionLayer
from .decompose_video import DecomposeVideo
from .download_layerflow import DownloadLayerFlow
from .layer_prompts import LayerPrompts
from .layer_sampler import LayerSampler
from .layerflow_lora import LayerFlowLoRA
from .layerflow_speed import LayerFlowSpeed
from .load_layerflow import LoadLayerFlow
from .model_files import register_model_folder
from .sample_clip import LayerFlowSampleClip

register_model_folder()

NODE_CLASS_MAPPINGS = {
    cls.__name__: cls
    for cls in (
        LoadLayerFlow,
        LayerFlowLoRA,
        LayerFlowSpeed,
        LayerPrompts,
        LayerSampler,
        DecomposeVideo,
        ConditionLayer,
        CompositeRGBA,
        LayerFlowSampleClip,
        CollectLayerClip,
        DownloadLayerFlow,
    )
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LoadLayerFlow": "LayerFlow Load Model",
    "LayerFlowLoRA": "LayerFlow LoRA",
    "LayerFlowSpeed": "LayerFlow Speed",
    "LayerPrompts": "LayerFlow Layer Prompts",
    "LayerSampler": "LayerFlow Sampler",
    "DecomposeVideo": "LayerFlow Decompose Video",
    "ConditionLayer": "LayerFlow Condition Layer",
    "CompositeRGBA": "LayerFlow Composite RGBA",
    "LayerFlowSampleClip": "LayerFlow Sample Clip",
    "CollectLayerClip": "LayerFlow Collect Layer Clip",
    "DownloadLayerFlow": "LayerFlow Download",
}
