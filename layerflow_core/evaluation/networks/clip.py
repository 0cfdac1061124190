"""CLIP's image encoders (Radford et al. 2021), by transformers, from files in its keys or in those of the authors.

Legend: N frames, H height, W width, D width of a feature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...weights.tensor_file import TensorSource
from .files import CLIP_B32, CLIP_L14, NetworkFile, fill, find_file, open_source, read_state
from .preprocessing import SIDE, clip_frames

_BATCH = 8  # frames at a time


@dataclass(frozen=True)
class ClipSize:
    """A row.

    Args:
        features: width of what comes out.
    """

    file: NetworkFile
    width: int
    layers: int
    heads: int
    patch: int
    features: int
    side: int = SIDE


L14 = ClipSize(CLIP_L14, 1024, 24, 16, 14, 768)
B32 = ClipSize(CLIP_B32, 768, 12, 12, 32, 512)

# The authors' names of the image encoder's parts -> transformers'.
_PARTS = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(.+?)(\.weight|\.bias|_weight|_bias)")
_JOINED = "attn.in_proj"
_THIRDS = ("q_proj", "k_proj", "v_proj")


class ClipImages:
    """An image encoder.

    Raises:
        EvaluationError: its file is missing, or another network's.
    """

    def __init__(self, size: ClipSize, folder: Path | None, device: torch.device) -> None:
        path = find_file(size.file, folder)
        self._device = device
        self._network = build(size)
        fill(self._network, read_encoder(open_source(path), self._network.state_dict(), path), path)
        self._network.eval().to(device)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] of 0..255 to features [N, D] of length 1."""
        features = []
        for batch in frames.split(_BATCH):
            pixels = clip_frames(batch.to(self._device))
            features.append(self._network(pixel_values=pixels).image_embeds.float().cpu())
        return F.normalize(torch.cat(features), dim=-1)


def build(size: ClipSize) -> torch.nn.Module:
    """The encoder without weights, on the meta device."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        projection_dim=size.features,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        patch_size=size.patch,
        image_size=size.side,
        hidden_act="quick_gelu",
    )
    with torch.device("meta"):
        network = CLIPVisionModelWithProjection(config)
    _place_numbers(network)
    return network


def _place_numbers(network: torch.nn.Module) -> None:
    """What no file has: the numbers of the positions."""
    embeddings = network.vision_model.embeddings
    count = embeddings.position_embedding.weight.shape[0]
    embeddings.register_buffer("position_ids", torch.arange(count)[None], persistent=False)


def read_encoder(
    source: TensorSource, expected: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The image encoder's tensors by transformers' names, out of a file that may hold the text encoder, too."""
    if not any(key.startswith("visual.") for key in source.specs):
        return read_state(source, {key: key for key in expected}, path)
    names = {key: key for key in source.specs if key.startswith("visual.")}
    state = {}
    for key, value in read_state(source, names, path).items():
        state |= _translate(key, value)
    return state


def _translate(key: str, value: Tensor) -> dict[str, Tensor]:
    """A tensor of the authors' file by transformers' names; queries, keys and values are one there."""
    block = _BLOCK.fullmatch(key)
    if block is None:
        stem, ending = _split(key)
        value = value.T.contiguous() if key == "visual.proj" else value
        return {_PARTS.get(stem, stem) + ending: value}
    number, part, kind = block.groups()
    prefix = f"vision_model.encoder.layers.{number}."
    if part == _JOINED:
        ending = kind.replace("_", ".")
        thirds = zip(_THIRDS, value.chunk(3))
        return {f"{prefix}self_attn.{name}{ending}": third for name, third in thirds}
    return {f"{prefix}{_PARTS.get(part, part)}{kind}": value}


def _split(key: str) -> tuple[str, str]:
    """A part and the ending of its tensor; parts that are a tensor themselves have none."""
    if key in _PARTS:
        return key, ""
    stem, _, ending = key.rpartition(".")
    return stem, f".{ending}"
