"""DINO ViT-B/16 (Caron et al. 2021), by transformers, from the authors' file or transformers' own.

Images are not cut to a square, so positions are interpolated as ``facebookresearch/dino`` does it
(``vision_transformer.py``, ``interpolate_pos_encoding``); transformers interpolates differently.

Legend: N frames, H height, W width, D width of a feature.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...weights.tensor_file import TensorSource
from .files import DINO, fill, find_file, open_source, read_state
from .preprocessing import dino_frames

_BATCH = 8  # frames at a time
_NUDGE = (
    0.1  # patches that are added to a size before it is divided, as the authors do against rounding
)
_EPSILON = 1e-6


@dataclass(frozen=True)
class DinoSize:
    """Of the network."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    patch: int = 16


# Names in transformers of several versions -> the authors' names, queries, keys and values apart.
_RENAMES = (
    (r"(?:vit\.)?embeddings\.cls_token", "cls_token"),
    (r"(?:vit\.)?embeddings\.position_embeddings", "pos_embed"),
    (r"(?:vit\.)?embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"(?:vit\.)?layernorm\.(\w+)", r"norm.\1"),
    (r"attention\.(?:attention\.query|q_proj)\.(\w+)", r"attn.q.\1"),
    (r"attention\.(?:attention\.key|k_proj)\.(\w+)", r"attn.k.\1"),
    (r"attention\.(?:attention\.value|v_proj)\.(\w+)", r"attn.v.\1"),
    (r"attention\.(?:output\.dense|o_proj)\.(\w+)", r"attn.proj.\1"),
    (r"layernorm_before\.(\w+)", r"norm1.\1"),
    (r"layernorm_after\.(\w+)", r"norm2.\1"),
    (r"(?:intermediate\.dense|mlp\.fc1)\.(\w+)", r"mlp.fc1.\1"),
    (r"(?:output\.dense|mlp\.fc2)\.(\w+)", r"mlp.fc2.\1"),
)
_BLOCK = re.compile(r"(?:vit\.)?(?:encoder\.layer|layers)\.(\d+)\.(.+)")
_JOINED = re.compile(r"(blocks\.\d+\.attn\.)qkv\.(\w+)")


class DinoImages:
    """The class token's feature of each frame.

    Raises:
        EvaluationError: its file is missing, or another network's.
    """

    def __init__(
        self, folder: Path | None, device: torch.device, size: DinoSize = DinoSize()
    ) -> None:
        path = find_file(DINO, folder)
        self._path = path
        self._device = device
        self._size = size
        self._state = read_weights(open_source(path), path)
        self._networks: dict[tuple[int, int], torch.nn.Module] = {}

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] of 0..255 to features [N, D] of length 1."""
        features = []
        for batch in frames.split(_BATCH):
            features.append(self.encode_pixels(dino_frames(batch)))
        return F.normalize(torch.cat(features), dim=-1)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """[N, 3, h, w], normalised, to features [N, D]."""
        patch = self._size.patch
        # Pixels beyond the last whole patch are not seen, as the authors' convolution leaves them out.
        height = pixels.shape[2] // patch * patch
        width = pixels.shape[3] // patch * patch
        network = self._network_for(height, width)
        seen = pixels[..., :height, :width].to(self._device)
        return network(pixel_values=seen).last_hidden_state[:, 0].float().cpu()

    def _network_for(self, height: int, width: int) -> torch.nn.Module:
        if (height, width) not in self._networks:
            network = build(self._size, height, width)
            state = dict(self._state)
            state["pos_embed"] = place(state["pos_embed"], height, width, self._size.patch)
            names = {key: to_authors_name(key) for key in network.state_dict()}
            fill(
                network, {k: state[name] for k, name in names.items() if name in state}, self._path
            )
            self._networks[height, width] = network.eval().to(self._device)
        return self._networks[height, width]


def build(size: DinoSize, height: int, width: int) -> torch.nn.Module:
    """The network for images of one size, without weights, on the meta device."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        patch_size=size.patch,
        image_size=(height, width),
        layer_norm_eps=_EPSILON,
    )
    with torch.device("meta"):
        return ViTModel(config, add_pooling_layer=False)


def read_weights(source: TensorSource, path: Path) -> dict[str, Tensor]:
    """A file's tensors by the authors' names, queries, keys and values apart; a projection head is left out."""
    names: dict[str, str] = {}
    for key in source.specs:
        name = to_authors_name(key)
        if name.split(".")[0] in ("cls_token", "pos_embed", "patch_embed", "blocks", "norm"):
            names[name] = key
    required = {key: names.get(key, key) for key in ("cls_token", "pos_embed", *names)}
    state = {}
    for name, value in read_state(source, required, path).items():
        joined = _JOINED.fullmatch(name)
        if joined is None:
            state[name] = value
            continue
        prefix, ending = joined.groups()
        for part, third in zip("qkv", value.chunk(3)):
            state[f"{prefix}{part}.{ending}"] = third
    return state


def to_authors_name(key: str) -> str:
    """A key of transformers, whatever its version, by the authors' name; the authors' stay as they are."""
    block = _BLOCK.fullmatch(key)
    prefix, rest = (f"blocks.{block[1]}.", block[2]) if block else ("", key)
    for pattern, name in _RENAMES:
        match = re.fullmatch(pattern, rest)
        if match:
            return prefix + match.expand(name)
    return prefix + rest


def place(positions: Tensor, height: int, width: int, patch: int) -> Tensor:
    """The table of positions [1, 1 + n, D] for images of another size, bicubic, as the authors do it."""
    rows = height // patch
    columns = width // patch
    count = positions.shape[1] - 1
    side = math.isqrt(count)
    if rows * columns == count and height == width:
        return positions
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((rows + _NUDGE) / math.sqrt(count), (columns + _NUDGE) / math.sqrt(count))
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)
