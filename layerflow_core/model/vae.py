"""Pixels to latents and back, for whole stacks of clips.

Legend: N pixel frames, T latent frames, C latent channels; pixels -1..1 in the model's own convention (see ``rgba``).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import CheckpointError
from ..layout import PIXELS_PER_LATENT, Layout
from ..weights.component_config import vae_fields
from .residence import original

if TYPE_CHECKING:
    from diffusers import AutoencoderKLCogVideoX

_WHOLE_STACK = 1 << 20  # more frames than any stack has
# diffusers' blending of tiles needs sizes that these shares of overlap divide: a sixth of the
# height, a fifth of the width.
_TILE_HEIGHT, _TILE_WIDTH = 6, 5


@dataclass(frozen=True)
class VaeMode:
    """How much of a stack the VAE has in work at a time.

    Args:
        latent_frames: at a time, 0 for the whole stack, which is the official way. Else the causal convolutions hand
            their cache on, but group norm sees only what is in work, so results differ a little.
        tiles: along height and width each, blended where they overlap.
        on_cpu: it computes in RAM, whatever the device is; slow, and always possible.
    """

    name: str
    latent_frames: int = 0
    tiles: int = 1
    on_cpu: bool = False
    by_block: ClassVar[bool] = False  # its weights are small, only its activations are not


# From the largest need of memory to the smallest.
WHOLE = VaeMode("whole stack")
STREAMED = VaeMode("streamed", 2)
TILED = VaeMode("streamed in tiles", 2, 2)
FINELY_TILED = VaeMode("streamed in small tiles", 2, 3)
ON_CPU = VaeMode("in small tiles on the CPU, which takes minutes", 2, 3, on_cpu=True)
VAE_MODES = (WHOLE, STREAMED, TILED, FINELY_TILED, ON_CPU)


def build_vae(config: Mapping[str, Any]) -> AutoencoderKLCogVideoX:
    """A VAE of this config with random weights, set to work on whole stacks; fields that are not known are left out.

    Raises:
        CheckpointError: a field is out of bounds, or the fields contradict each other.
    """
    from diffusers import AutoencoderKLCogVideoX

    fields = vae_fields(config, "the VAE's config")
    try:
        return set_mode(AutoencoderKLCogVideoX(**fields).eval(), WHOLE)
    except ValueError as error:
        raise CheckpointError(f"the VAE's config contradicts itself: {error}") from error


def set_mode(
    vae: AutoencoderKLCogVideoX, mode: VaeMode, latent_size: tuple[int, int] = (0, 0)
) -> AutoencoderKLCogVideoX:
    """The same module, set to work in this mode.

    Args:
        latent_size: height and width, which decide how large tiles are.
    """
    factor = spatial_factor(vae)
    vae.num_latent_frames_batch_size = mode.latent_frames or _WHOLE_STACK
    vae.num_sample_frames_batch_size = PIXELS_PER_LATENT * mode.latent_frames or _WHOLE_STACK
    if mode.tiles == 1:
        vae.disable_tiling()
        return vae
    height, width = (
        unit * math.ceil(size / mode.tiles / unit)
        for size, unit in zip(latent_size, (_TILE_HEIGHT, _TILE_WIDTH))
    )
    vae.enable_tiling(height * factor, width * factor, 1 / _TILE_HEIGHT, 1 / _TILE_WIDTH)
    return vae


def in_channels_last(vae: AutoencoderKLCogVideoX) -> AutoencoderKLCogVideoX:
    """A second module whose convolutions' weights are laid out as tensor cores read them.

    Exact to rounding, faster on GPUs only. All other tensors are shared with the module that was given, which stays
    as it is; so are the convolutions' where they are laid out so already.
    """
    tensors = (*vae.parameters(), *vae.buffers())
    other = copy.deepcopy(vae, {id(tensor): original(tensor) for tensor in tensors})
    for module in other.modules():
        if isinstance(module, nn.Conv3d):
            module.weight = _channels_last(module.weight)
    return other


def _channels_last(weight: nn.Parameter) -> nn.Parameter:
    if weight.is_contiguous(memory_format=torch.channels_last_3d):
        return weight
    moved = weight.detach().contiguous(memory_format=torch.channels_last_3d)
    return nn.Parameter(moved, weight.requires_grad)


def spatial_factor(vae: AutoencoderKLCogVideoX) -> int:
    """Pixels per latent, in height and width."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


@contextmanager
def pausing(vae: AutoencoderKLCogVideoX, pause: Callable[[], None]) -> Iterator[None]:
    """Inside this context ``pause`` is called before each block of the VAE works on a stretch or tile.

    Args:
        pause: may raise, which ends the work.
    """
    with ExitStack() as hooks:
        for block in (*vae.encoder.down_blocks, *vae.decoder.up_blocks):
            hooks.callback(block.register_forward_pre_hook(lambda *_: pause()).remove)
        yield


class Decoder(nn.Module):
    """Decoding as the forward pass of a module, for callers that count its memory."""

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """[1, C, T, h, w] -> [1, 3, N, H, W]."""
        return self.vae.decode(latents).sample


class LayerVAE:
    """``AutoencoderKLCogVideoX`` with the layout's rule on what is coded together.

    Latents leave and enter at the scale the transformer works on: (z - mean) / std per channel, from the config
    (the official VAE: mean 0, std 1 / 1.15258426).
    """

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        self.vae = vae
        config = vae.config
        channels = config.latent_channels
        mean = config.latents_mean or [0.0] * channels
        std = config.latents_std or [1 / config.scaling_factor] * channels
        self.mean = torch.tensor(mean).view(1, channels, 1, 1)
        self.std = torch.tensor(std).view(1, channels, 1, 1)

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent, in height and width."""
        return spatial_factor(self.vae)

    @torch.inference_mode()
    def encode(
        self,
        clips: Mapping[str, Tensor],
        layout: Layout,
        generator: torch.Generator,
        mode: VaeMode = WHOLE,
    ) -> Tensor:
        """Sample the posterior of all clips.

        Args:
            clips: each [N, 3, H, W] in -1..1, one for every clip of the layout.
            generator: CPU generator of the posterior's noise.

        Returns:
            [1, T, C, H/f, W/f] float32.
        """
        parts = [self._encode_part(part, generator, mode) for part in layout.to_vae(clips)]
        return torch.cat(parts)[None]

    @torch.inference_mode()
    def posterior(self, clips: Mapping[str, Tensor], layout: Layout) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that ``encode`` draws from, [T, C, H/f, W/f] each, float32 on the CPU."""
        moments = [self._moments(part, WHOLE) for part in layout.to_vae(clips)]
        mean = _join_frames(mean for mean, _ in moments)
        std = _join_frames(std for _, std in moments)
        return (mean - self.mean) / self.std, std / self.std

    def _moments(self, pixels: Tensor, mode: VaeMode) -> tuple[Tensor, Tensor]:
        set_mode(self.vae, mode, tuple(size // self.spatial_factor for size in pixels.shape[-2:]))
        video = rearrange(pixels.to(self.vae.device, self.vae.dtype), "n c h w -> 1 c n h w")
        posterior = self.vae.encode(video).latent_dist
        return posterior.mean.float(), posterior.std.float()

    def _encode_part(self, pixels: Tensor, generator: torch.Generator, mode: VaeMode) -> Tensor:
        mean, std = self._moments(pixels, mode)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        latents = rearrange(mean + std * noise, "1 c t h w -> t c h w")
        return (latents - self.mean.to(latents)) / self.std.to(latents)

    @torch.inference_mode()
    def decode(
        self,
        latents: Tensor,
        layout: Layout,
        mode: VaeMode = WHOLE,
        known: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """[1, T, C, h, w] to clips by name, each [N, 3, H, W] float32 in about -1..1, on the CPU.

        Args:
            known: clips that need not be decoded, and are left out where that changes no other one.
        """
        set_mode(self.vae, mode, tuple(latents.shape[-2:]))
        spans = layout.vae_spans_beside(known, mode.latent_frames)
        clips = layout.from_vae([self._decode_part(latents[0, span]) for span in spans])
        return {name: clip for name, clip in clips.items() if name not in known}

    def _decode_part(self, latents: Tensor) -> Tensor:
        if not len(latents):
            return latents
        scaled = latents.float() * self.std.to(latents.device) + self.mean.to(latents.device)
        video = rearrange(scaled.to(self.vae.device, self.vae.dtype), "t c h w -> 1 c t h w")
        return rearrange(self.vae.decode(video).sample, "1 c n h w -> n c h w").float().cpu()


def _join_frames(parts: Iterable[Tensor]) -> Tensor:
    """[1, C, T, h, w] each to [T, C, h, w] on the CPU."""
    return rearrange(torch.cat(list(parts), 2), "1 c t h w -> t c h w").cpu()
