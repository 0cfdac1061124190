"""What the parts' work allocates beside their weights, counted once for all models of one shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..layout import PIXELS_PER_LATENT, Layout
from ..model.attention import attentions, counted_kernel
from ..model.loading import LayerFlowModel
from ..model.vae import Decoder, VaeMode, set_mode, spatial_factor
from .memory import count_peak

TEXT_PEAK = 256 * 1024**2
"""Bytes; a few hundred tokens are small beside T5's weights."""
_COLOURS = 3
_counted: dict[tuple, int] = {}


def network_peak(model: LayerFlowModel, batch: int, device: torch.device) -> int:
    """Bytes that one call of the transformer allocates."""
    config = model.config
    dtype = model.network.position_table.dtype
    latents = (batch, config.layout.frames, *config.network.latent_shape)
    text = (batch, config.text_length, config.network.text_embed_dim)

    def call(network: nn.Module) -> Tensor:
        return network(
            torch.zeros(latents, dtype=dtype), torch.zeros(text, dtype=dtype), torch.zeros(batch)
        )

    def count() -> int:
        with counted_kernel(model.network.backbone, device, dtype):
            return count_peak(model.network, call, device)

    kernels = {getattr(attn.processor, "kernel", "") for attn in attentions(model.network.backbone)}
    key = (latents, text, device, frozenset(kernels), _shape_of(model.network))
    return _remembered(key, count)


def vae_peak(model: LayerFlowModel, layout: Layout, mode: VaeMode, device: torch.device) -> int:
    """Bytes that decoding allocates; encoding takes less.

    One stretch after another and one tile after another take the same, so two stretches of one tile are counted; what
    has been decoded before stays beside them. At the end there are all pieces, and twice what is made of them.
    """
    vae = model.require_vae().vae
    size = model.config.network
    height = size.latent_height
    width = size.latent_width
    frames = max(span.stop - span.start for span in layout.vae_spans)
    set_mode(vae, mode, (height, width))
    short = _short_frames(frames, mode)
    tiles = list(_tiles_of(vae, height, width))
    largest = max(tiles, key=math.prod)
    shape = (1, size.latent_channels, short, *largest)

    def decode(decoder: nn.Module) -> Tensor:
        return decoder(torch.zeros(shape, dtype=vae.dtype))

    key = (shape, mode, device, _shape_of(vae))
    piece = _remembered(key, lambda: count_peak(Decoder(vae), decode, device))
    factor = spatial_factor(vae)
    area = sum(math.prod(tile) for tile in tiles)
    pixel = _COLOURS * factor**2 * vae.dtype.itemsize * PIXELS_PER_LATENT * frames
    pieces = area * pixel
    result = height * width * pixel
    if mode.tiles == 1:
        return piece if short == frames else max(piece + pieces, 2 * result)
    return max(piece + pieces, pieces + 2 * result)


def _short_frames(frames: int, mode: VaeMode) -> int:
    """Frames of the largest stretch, which is the first, and of one after it."""
    if not mode.latent_frames:
        return frames
    return min(frames, 2 * mode.latent_frames + frames % mode.latent_frames)


def _tiles_of(vae: nn.Module, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Sizes of the tiles that diffusers decodes, one for every place where one begins."""
    if not vae.use_tiling:
        yield height, width
        return
    tile_height = vae.tile_latent_min_height
    tile_width = vae.tile_latent_min_width
    step_down = int(tile_height * (1 - vae.tile_overlap_factor_height))
    step_right = int(tile_width * (1 - vae.tile_overlap_factor_width))
    for top in range(0, height, step_down):
        for left in range(0, width, step_right):
            yield min(tile_height, height - top), min(tile_width, width - left)


def _shape_of(module: nn.Module) -> int:
    """What decides what a module's calls allocate: its class, and its tensors' names, shapes and dtypes."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    rows = tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors)
    return hash((type(module), rows))


def _remembered(key: tuple, count: Callable[[], int]) -> int:
    if key not in _counted:
        _counted[key] = count()
    return _counted[key]
