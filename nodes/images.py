"""ComfyUI's images and masks to the core's and back: the one place that knows both.

IMAGE is [N, H, W, C] in 0..1, MASK is [N, H, W]. The core has [N, C, H, W] and alpha [N, 1, H, W], 1 = opaque.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..layerflow_core.errors import FrameError
from ..layerflow_core.layers import LayerVideo
from ..layerflow_core.matching import match_matte

ALPHA_MEANINGS = ("alpha (1 = opaque)", "transparency (1 = transparent)")
LAYERS = "LAYERFLOW_LAYERS"
LAYERS_TOOLTIP = "All layers in one: for PreviewLayers, SaveLayers, LayerResidual and SplitLayers."
LAYERS_FROM = "From LayerSampler, DecomposeVideo, LayerResidual, LoadLayers or JoinLayers."
LAYER_TYPES = ("IMAGE", "MASK", "IMAGE", "IMAGE", "IMAGE", "MASK", "FLOAT")
LAYER_NAMES = (
    "foreground",
    "alpha",
    "background",
    "blended",
    "foreground_rgba",
    "transparency",
    "fps",
)
LAYER_TOOLTIPS = (
    "Colour of the foreground, straight (not multiplied by alpha).",
    "Alpha of the foreground, 1 = opaque. For CompositeRGBA, ConditionLayer, "
    "ImageCompositeMasked and MaskToImage. NOT for JoinImageWithAlpha: that wants 'transparency'.",
    "The background without the foreground; black where nothing is behind.",
    "The whole scene as the model made it, or as it was given; the foregrounds over black where nothing is behind.",
    "Foreground with straight alpha as a fourth channel: for SaveImage, SaveAnimatedWEBP, "
    "SaveAnimatedPNG and PreviewImage.",
    "1 - alpha, the polarity that JoinImageWithAlpha, PorterDuffImageComposite and LoadImage's MASK have.",
    "Frames per second.",
)


def to_frames(image: Tensor, name: str = "images") -> tuple[Tensor, Tensor | None]:
    """IMAGE to colour [N, 3, H, W] and, where it has a fourth channel, alpha [N, 1, H, W].

    Raises:
        FrameError: no IMAGE batch, an empty one, or pixels that are no numbers.
    """
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise FrameError(
            f"{name}: got {list(image.shape)}, expected an IMAGE batch of [N, H, W, 3 or 4]"
        )
    _check_pixels(image, name)
    frames = image.float().permute(0, 3, 1, 2)
    return frames[:, :3].contiguous(), frames[:, 3:].contiguous() if frames.shape[1] == 4 else None


def _check_pixels(batch: Tensor, name: str) -> None:
    if not batch.numel():
        raise FrameError(
            f"{name}: got an empty batch {list(batch.shape)}, expected one frame of one pixel or more"
        )
    extremes = torch.stack(batch.aminmax())  # NaN goes through, and no copy of the batch is made
    if not torch.isfinite(extremes.float()).all():
        raise FrameError(
            f"{name}: got NaN or infinite pixels, expected 0..1; check the nodes before this one"
        )


def to_alpha(mask: Tensor, meaning: str = ALPHA_MEANINGS[0]) -> Tensor:
    """MASK to alpha [N, 1, H, W], 1 = opaque.

    Raises:
        FrameError: no MASK batch, an empty one, or values that are no numbers.
    """
    if mask.ndim != 3:
        raise FrameError(f"alpha: got {list(mask.shape)}, expected a MASK batch of [N, H, W]")
    _check_pixels(mask, "alpha")
    alpha = mask.float()[:, None]
    return 1 - alpha if meaning == ALPHA_MEANINGS[1] else alpha


def to_layer(
    image: Tensor, mask: Tensor | None, meaning: str, name: str = "images"
) -> tuple[Tensor, Tensor | None]:
    """IMAGE and MASK to colour and alpha, equally long: one image, or one mask, stands for all frames.

    A MASK goes before the image's own fourth channel; alpha is None where there is neither.

    Raises:
        FrameError: no IMAGE or MASK batch, or they do not fit each other.
    """
    colour, own = to_frames(image, name)
    if mask is None:
        return colour, own
    return match_matte(colour, to_alpha(mask, meaning), name)


def number(default: float, least: float, most: float, step: float, tooltip: str) -> tuple:
    """A widget of a FLOAT."""
    return (
        "FLOAT",
        {"default": default, "min": least, "max": most, "step": step, "tooltip": tooltip},
    )


def to_image(frames: Tensor) -> Tensor:
    """[N, C, H, W] to IMAGE."""
    return frames.permute(0, 2, 3, 1).contiguous()


def to_outputs(layers: LayerVideo) -> tuple:
    """The outputs that every node which makes layers has, see ``LAYER_NAMES``; black where nothing is behind."""
    layers = layers.held()
    alpha = layers.alpha
    rgba = torch.cat([layers.foreground, alpha], 1)
    background = (
        layers.background if layers.background is not None else torch.zeros_like(layers.foreground)
    )
    return (
        to_image(layers.foreground),
        alpha[:, 0].contiguous(),
        to_image(background),
        to_image(layers.scene()),
        to_image(rgba),
        1 - alpha[:, 0],
        float(layers.fps),
    )
