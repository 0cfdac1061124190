"""Packs trained parts into the one file that ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.utils.parametrize as parametrize
from torch import Tensor

from ..config import ModelConfig
from ..layout import BLENDED, PIXELS_PER_LATENT
from ..model.loading import network_tensors
from ..weights.checkpoint import TOKENIZER_KEY, Checkpoint, encode_bytes, write_checkpoint
from .captions import tokenizer_json
from .curriculum import CURRICULA
from .evaluation import STEPS
from .latents import LatentSet
from .scene_module import SceneTrainingModule, network_config
from .vae_training import VAE, VAE_CONFIG, build_world_vae, model_clips
from .workers import final_weights
from .world import FPS, FRAMES, draw_scenes, render

SAMPLER = {"steps": STEPS, "guidance": "constant", "scale": 3.0, "solver": "dpmpp_2m"}
SAMPLER_GIVEN = {BLENDED: {"scale": 1.0}}  # a video to be taken apart says more than words do
CLIP_FRAMES = FRAMES // PIXELS_PER_LATENT  # latent ones
_PREVIEW_SCENES = 24
# Its own world: 0.04 at most; camera footage: 0.06 and more (benchmarks/reconstruction.py).
RECONSTRUCTION_LIMIT = 0.05


def export(folder: Path, target: Path, curriculum: str) -> None:
    """Read the VAE, the first set's moments and the last stage's weights; write one file, weights in fp16."""
    row = CURRICULA[curriculum]
    data = LatentSet.load(folder / f"{row.sets[0]}.safetensors")
    module = SceneTrainingModule(network_config(row.layout, CLIP_FRAMES, data.latents.shape[3:]))
    module.load_state_dict(
        torch.load(final_weights(folder, row.stages[-1].name), weights_only=True)
    )
    parametrize.remove_parametrizations(module.network, "position_table", leave_parametrized=True)
    vae = build_world_vae().eval()
    vae.load_state_dict(torch.load(final_weights(folder, VAE), weights_only=True))
    vae_config = {
        **VAE_CONFIG,
        "latents_mean": data.mean.tolist(),
        "latents_std": data.std.tolist(),
    }
    config = replace(
        module.network.config,
        vae=vae_config,
        fps=float(FPS),
        sampler=SAMPLER,
        sampler_given=SAMPLER_GIVEN,
    )
    config = replace(
        config, preview=fit_preview(vae, config), reconstruction_limit=RECONSTRUCTION_LIMIT
    )
    tensors = {f"network.{k}": v for k, v in network_tensors(module.network).items()}
    tensors |= {
        f"text_encoder.{k}": v
        for k, v in module.t5.state_dict().items()
        if k != "encoder.embed_tokens.weight"
    }
    tensors |= {f"vae.{k}": v for k, v in vae.state_dict().items()}
    halves = {k: v.half() for k, v in tensors.items()}
    write_checkpoint(
        Checkpoint(config, {**halves, TOKENIZER_KEY: encode_bytes(tokenizer_json().encode())}),
        target,
    )


@torch.inference_mode()
def fit_preview(vae, config: ModelConfig) -> tuple[tuple[float, ...], ...]:
    """Least-squares map from one latent to the mean colour of the pixels it stands for, [C + 1][3] in 0..1."""
    inputs, colours = [], []
    for scene in draw_scenes(_PREVIEW_SCENES, 3 * 10**8, held_out=False):
        pixels = torch.stack(model_clips(render(scene))).transpose(1, 2)
        latents = vae.encode(pixels).latent_dist.mean
        mean, std = (
            torch.tensor(config.vae[k]).view(1, -1, 1, 1, 1)
            for k in ("latents_mean", "latents_std")
        )
        small = torch.nn.functional.adaptive_avg_pool3d(pixels * 0.5 + 0.5, latents.shape[2:])
        inputs.append(_points((latents - mean) / std))
        colours.append(_points(small))
    points = torch.cat(inputs)
    design = torch.cat([points, torch.ones(len(points), 1)], 1)
    weights = torch.linalg.lstsq(design, torch.cat(colours)).solution
    return tuple(tuple(round(w, 5) for w in row) for row in weights.tolist())


def _points(volume: Tensor) -> Tensor:
    """[B, C, T, h, w] -> [B*T*h*w, C]."""
    return volume.transpose(0, 1).flatten(1).T
