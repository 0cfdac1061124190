"""The nodes. Their ids are forever: saved workflows carry them."""

from .boundary import guard
from .collect_layer_clip import CollectLayerClip
from .composite_rgba import CompositeRGBA
from .condition_layer import ConditionLayer
from .decompose_video import DecomposeVideo
from .download_layerflow import DownloadLayerFlow
from .join_layers import JoinLayers
from .layer_prompts import LayerPrompts
from .layer_residual import LayerResidual
from .layer_sampler import LayerSampler
from .layerflow_lora import LayerFlowLoRA
from .layerflow_speed import LayerFlowSpeed
from .load_layerflow import LoadLayerFlow
from .load_layers import LoadLayers
from .model_files import register_model_folder
from .preview_layers import PreviewLayers
from .refine_alpha import RefineAlpha
from .sample_clip import LayerFlowSampleClip
from .save_layers import SaveLayers
from .split_layers import SplitLayers
from .token_counter import register_routes
from .transform_layer import TransformLayer

register_model_folder()
register_routes()

NODE_CLASS_MAPPINGS = {
    cls.__name__: guard(cls)
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
        PreviewLayers,
        SaveLayers,
        LoadLayers,
        LayerResidual,
        TransformLayer,
        RefineAlpha,
        JoinLayers,
        SplitLayers,
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
    "PreviewLayers": "LayerFlow Preview Layers",
    "SaveLayers": "LayerFlow Save Layers",
    "LoadLayers": "LayerFlow Load Layers",
    "LayerResidual": "LayerFlow Layer Residual",
    "TransformLayer": "LayerFlow Transform Layer",
    "RefineAlpha": "LayerFlow Refine Alpha",
    "JoinLayers": "LayerFlow Join Layers",
    "SplitLayers": "LayerFlow Split Layers",
}
