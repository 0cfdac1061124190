"""Trains the embedded model's VAE, a small ``AutoencoderKLCogVideoX``, on clips of the procedural world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model.vae import build_vae as build_from_config
from ..rgba import over_grey
from .fitting import DRAWS_PER_STEP, FitPlan, fit
from .world import FRAMES, HEIGHT, WIDTH, TrueLayers, draw_scene, render

if TYPE_CHECKING:
    from diffusers import AutoencoderKLCogVideoX

VAE_CONFIG = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 3,
    "up_block_types": ("CogVideoXUpBlock3D",) * 3,
    "block_out_channels": (16, 32, 64),
    "latent_channels": 8,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "temporal_compression_ratio": 4,
    "sample_height": HEIGHT,
    "sample_width": WIDTH,
    "scaling_factor": 1.0,
}
PLAN = FitPlan(steps=2000, rate=2e-3, warm_up=50, decay=0.99)
KL_WEIGHT = 1e-4
START_LOG_VARIANCE = -6.0


@dataclass(frozen=True)
class Batch:
    """Clips of one shape, so that the convolutions have work in bulk."""

    clips: int
    frames: int
    height: int
    width: int


# Short clips teach the picture, whole clips the time axis, small stills serve the transformer's first stage.
BATCHES = (Batch(4, 8, HEIGHT, WIDTH), Batch(2, FRAMES, HEIGHT, WIDTH), Batch(32, 1, HEIGHT // 2, WIDTH // 2))


def model_clips(layers: TrueLayers) -> tuple[Tensor, ...]:
    """Foreground over mid grey, alpha as grey video, background, blended: each [T, 3, H, W] in -1..1."""
    return (
        over_grey(layers.foreground, layers.alpha),
        (layers.alpha * 2 - 1).expand(-1, 3, -1, -1),
        layers.background * 2 - 1,
        layers.blended * 2 - 1,
    )


def build_vae() -> AutoencoderKLCogVideoX:
    """The untrained VAE; its posterior starts narrow."""
    vae = build_from_config(VAE_CONFIG)
    with torch.no_grad():
        vae.encoder.conv_out.conv.bias[VAE_CONFIG["latent_channels"] :] = START_LOG_VARIANCE
    return vae


def draw_batch(batch: Batch, first_seed: int, generator: torch.Generator) -> Tensor:
    """[clips, 3, T, H, W] in -1..1: one randomly chosen layer of each of ``clips`` scenes."""
    clips = []
    for i in range(batch.clips):
        spare = (FRAMES - batch.frames) / (FRAMES - 1)
        start = torch.rand((), generator=generator) * (spare if batch.frames > 1 else 1.0)
        times = start + torch.arange(batch.frames) / (FRAMES - 1)
        layers = render(draw_scene(first_seed + i, held_out=False), times, batch.height, batch.width)
        kind = int(torch.randint(4, (), generator=generator))
        clips.append(model_clips(layers)[kind].transpose(0, 1))
    return torch.stack(clips)


def vae_loss(vae, clips: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """L1 plus squared error on pixels in -1..1, and a light KL term."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(clips).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator)
        restored = vae.decode(mean + noise * (0.5 * logvar).exp()).sample.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    squared = (restored - clips).square().mean()
    loss = (restored - clips).abs().mean() + 2 * squared + KL_WEIGHT * kl
    return {"loss": loss, "psnr": -10 * (squared / 4).log10(), "kl": kl}


def train_vae(rank: int, folder: str, seed: int) -> None:
    """One process of the training; writes ``vae_state.pt`` into ``folder`` as it goes, ``vae_final.pt`` at the end."""
    torch.manual_seed(seed)
    vae = build_vae().train()

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        batch = BATCHES[int(torch.multinomial(torch.tensor((0.4, 0.4, 0.2)), 1, generator=torch.Generator().manual_seed(step)))]
        return vae_loss(vae, draw_batch(batch, step * DRAWS_PER_STEP + rank * 1000, generator), generator)

    fit(vae, loss_of, PLAN, Path(folder) / "vae_state.pt", "vae")
    if rank == 0:
        torch.save(vae.state_dict(), Path(folder) / "vae_final.pt")
