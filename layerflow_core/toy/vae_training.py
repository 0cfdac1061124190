"""Trains the embedded model's VAE, a small ``AutoencoderKLCogVideoX``, on clips of the procedural world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model.vae import build_vae
from ..rgba import over_grey
from ..training.seeding import mix_seed, pick_weighted
from ..training.trainer import Trainer
from ..training.training_module import TrainingModule
from .curriculum import make_plan
from .workers import final_weights, finish
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
VAE = "vae"  # name of its training
PLAN = make_plan(2000, 1, 2e-3, warmup_steps=50, ema_decay=0.99)
DRAWS_PER_STEP = (
    1 << 20
)  # room for one step's scene seeds; keeps two steps from ever sharing a scene
KL_WEIGHT = 1e-4
START_LOG_VARIANCE = -6.0


@dataclass(frozen=True)
class Shape:
    """Clips of one shape, so that the convolutions have work in bulk."""

    clips: int
    frames: int
    height: int
    width: int


# Short clips teach the image, whole clips the time axis, small stills serve the transformer's first stage.
SHAPES = (
    Shape(4, 8, HEIGHT, WIDTH),
    Shape(2, FRAMES, HEIGHT, WIDTH),
    Shape(32, 1, HEIGHT // 2, WIDTH // 2),
)
SHARES = (0.4, 0.4, 0.2)


def model_clips(layers: TrueLayers) -> tuple[Tensor, ...]:
    """Foreground over mid grey, alpha as grey video, background, blended: each [T, 3, H, W] in -1..1."""
    return (
        over_grey(layers.foreground, layers.alpha),
        (layers.alpha * 2 - 1).expand(-1, 3, -1, -1),
        layers.background * 2 - 1,
        layers.blended * 2 - 1,
    )


def build_world_vae() -> AutoencoderKLCogVideoX:
    """The untrained VAE; its posterior starts narrow."""
    vae = build_vae(VAE_CONFIG)
    with torch.no_grad():
        vae.encoder.conv_out.conv.bias[VAE_CONFIG["latent_channels"] :] = START_LOG_VARIANCE
    return vae


def draw_clips(shape: Shape, first_seed: int, generator: torch.Generator) -> Tensor:
    """[clips, 3, T, H, W] in -1..1: one randomly chosen layer of each of ``clips`` scenes."""
    clips = []
    for i in range(shape.clips):
        spare = (FRAMES - shape.frames) / (FRAMES - 1)
        start = torch.rand((), generator=generator) * (spare if shape.frames > 1 else 1.0)
        times = start + torch.arange(shape.frames) / (FRAMES - 1)
        layers = render(
            draw_scene(first_seed + i, held_out=False), times, shape.height, shape.width
        )
        kind = int(torch.randint(4, (), generator=generator))
        clips.append(model_clips(layers)[kind].transpose(0, 1))
    return torch.stack(clips)


@dataclass(frozen=True)
class ClipBatch:
    """Clips [clips, 3, T, H, W] in -1..1, and the seed of the posterior's noise."""

    clips: Tensor
    seed: Tensor


class ClipBatches:
    """Draws one batch of clips for each process; all of a step have one shape."""

    def draw(self, step: int, samples: range) -> ClipBatch:
        shape = SHAPES[pick_weighted(SHARES, torch.Generator().manual_seed(step))]
        seed = mix_seed(step, samples.start)
        return ClipBatch(
            draw_clips(
                shape,
                step * DRAWS_PER_STEP + samples.start * 1000,
                torch.Generator().manual_seed(seed),
            ),
            torch.tensor(seed),
        )


class VaeTrainingModule(TrainingModule):
    """The VAE under L1 plus squared error on pixels in -1..1, and a light KL term."""

    def __init__(self, vae: AutoencoderKLCogVideoX) -> None:
        super().__init__()
        self.vae, self._metrics = vae, {}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """[1]: the loss of the whole batch."""
        clips, generator = batch["clips"], torch.Generator().manual_seed(int(batch["seed"]))
        posterior = self.vae.encode(clips).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator)
        restored = self.vae.decode(mean + noise * (0.5 * logvar).exp()).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        squared = (restored - clips).square().mean()
        self._metrics = {
            "psnr": float(-10 * (squared.detach() / 4).log10()),
            "kl": float(kl.detach()),
        }
        return ((restored - clips).abs().mean() + 2 * squared + KL_WEIGHT * kl)[None]

    def metrics(self) -> dict[str, float]:
        return self._metrics


def train_vae(rank: int, folder: str, seed: int) -> None:
    """One process of the training; writes its ``final_weights`` into the folder."""
    torch.manual_seed(seed)
    vae = build_world_vae()
    root = Path(folder)
    finish(
        Trainer(VaeTrainingModule(vae), ClipBatches(), PLAN, root / VAE),
        vae,
        final_weights(root, VAE),
    )
