"""Whether a run asks a model for what it was trained on: words it knows, footage of its own kind.

Both end in a warning and never in an error: the run continues, and the person knows what its layers are worth.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

from .layout import ALPHA, FOREGROUND, PIXELS_PER_LATENT, Layout
from .model.loading import LayerFlowModel
from .model.vae import LayerVAE
from .model.vocabulary import describe_unknown
from .runtime.devices import Devices
from .runtime.placement import for_vae

_log = logging.getLogger(__name__)
# A foreground over grey is mostly grey, which every VAE knows: its error tells nothing (see
# benchmarks/reconstruction.py).
_NOT_MEASURED = (FOREGROUND, ALPHA)


def warn_of_prompts(model: LayerFlowModel, layout: Layout, prompts: Mapping[str, str]) -> None:
    """One warning that names all words without a token, and one for each prompt that will be cut."""
    text = model.require_text()
    for name, count in text.truncated(prompts, layout).items():
        _log.warning(
            "the prompt for %s has %d tokens, the model reads %d: the rest is cut; shorten it",
            name,
            count,
            text.tokens,
        )
    read = {name: prompts.get(name, "") for name in layout.texts}
    if unknown := describe_unknown(text.tokenizer, read):
        _log.warning("%s %s", name_of(model), unknown)


def warn_of_footage(
    model: LayerFlowModel, layout: Layout, layers: Mapping[str, Tensor], devices: Devices
) -> None:
    """Warn once if given layers are nothing like what the model was trained on.

    Args:
        layers: by layer name, [N, C, H, W] at the model's size, 0..1.
    """
    limit = model.config.reconstruction_limit
    measured = [name for name in layers if layout.clip(name).kind not in _NOT_MEASURED]
    if limit is None or not measured:
        return
    with for_vae(devices, model, layout) as placement:
        errors = {
            name: placement.run(
                lambda mode, name=name: reconstruction_error(model.require_vae(), layers[name])
            )
            for name in measured
        }
    name = max(errors, key=errors.get)
    if errors[name] > limit:
        _log.warning(
            "the %s footage is unlike anything that %s was trained on (it redraws a pixel with "
            "an error of %.3f, of its own world with %.2f at most): "
            "the layers will mean little. The model that ships with the pack knows moving "
            "shapes over simple backgrounds; "
            "for camera footage get an official checkpoint (node DownloadLayerFlow, or `layerflow download`)",
            name,
            name_of(model),
            errors[name],
            limit,
        )


@torch.inference_mode()
def reconstruction_error(vae: LayerVAE, frames: Tensor) -> float:
    """What the VAE loses of the frames in the middle, mean absolute difference of values in 0..1.

    Args:
        frames: [N, 3, H, W], 0..1; as many are looked at as one latent frame stands for.
    """
    start = max(0, (len(frames) - PIXELS_PER_LATENT) // 2)
    middle = frames[start : start + PIXELS_PER_LATENT]
    pixels = rearrange(middle * 2 - 1, "n c h w -> 1 c n h w").to(vae.vae.device, vae.vae.dtype)
    latents = vae.vae.encode(pixels).latent_dist.mode()
    again = vae.vae.decode(latents).sample
    return (again - pixels).float().abs().mean().item() / 2


def name_of(model: LayerFlowModel) -> str:
    """The model in a message."""
    return f"the model {model.source.stem!r}" if model.source else "the model"
