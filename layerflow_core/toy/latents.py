"""Scenes of the procedural world as VAE latents, made once and kept in a file."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..atomic import replacing
from ..errors import DatasetError
from ..plain_data import Text, parse_record
from ..runtime.devices import fast_autocast
from .clips import COARSE, EXACT, QUALITIES
from .vae_training import VAE, build_world_vae, model_clips
from .workers import final_weights
from .world import FRAMES, HEIGHT, WIDTH, Scene, TrueLayers, draw_scene, render

CHUNK = 16  # scenes encoded at once


@dataclass(frozen=True)
class SceneSelection:
    """What one set of latents shows.

    Args:
        scenes: how many, from ``first_seed`` on.
        shrink: 1 for full size, 2 for half.
        moving: whole clips; else one random moment of each.
        quality: key of ``clips.QUALITIES``.
    """

    scenes: int
    first_seed: int
    shrink: int
    moving: bool
    quality: str = EXACT


SETS: Mapping[str, SceneSelection] = {
    "clips": SceneSelection(3200, 10**8, 1, True),
    "stills": SceneSelection(16000, 2 * 10**8, 2, False),
    "small_clips": SceneSelection(8000, 4 * 10**8, 2, True),
    "coarse_stills": SceneSelection(16000, 5 * 10**8, 2, False, COARSE),
}


@dataclass(frozen=True)
class LatentSet:
    """Encoded scenes.

    Args:
        latents: [n, 4 clips, F, C, h, w] float16, unnormalised posterior means, in the order
            foreground, alpha, background, blended.
        prompts: per scene, the three prompts in segment order.
        mean, std: [C] over the set of clips.
    """

    latents: Tensor
    prompts: list[list[str]]
    mean: Tensor
    std: Tensor

    def normalised(self) -> Tensor:
        """(latents - mean) / std, float16."""
        mean, std = (s.view(-1, 1, 1) for s in (self.mean, self.std))
        return ((self.latents.float() - mean) / std).half()

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        tensors = {"latents": self.latents, "mean": self.mean, "std": self.std}
        with replacing(path) as partial:
            save_file(tensors, str(partial), {"prompts": json.dumps(self.prompts)})

    @classmethod
    def load(cls, path: Path) -> LatentSet:
        from ..weights.tensor_file import read_tensors

        tensors, metadata = read_tensors(path)
        prompts = parse_record(
            list[list[Text]], metadata.get("prompts", ""), f"{path}: prompts", DatasetError
        )
        return cls(tensors["latents"], prompts, tensors["mean"], tensors["std"])


@torch.inference_mode()
def encode_scenes(vae, footage: SceneSelection, seeds: range) -> LatentSet:
    """Encode training scenes."""
    latents, prompts = [], []
    for start in range(0, len(seeds), CHUNK):
        chunk = []
        for seed in seeds[start : start + CHUNK]:
            scene = draw_scene(seed, held_out=False)
            prompts.append(list(scene.prompts.values()))
            times = (
                torch.linspace(0, 1, FRAMES)
                if footage.moving
                else torch.rand(1, generator=torch.Generator().manual_seed(seed))
            )
            chunk.append(torch.stack(model_clips(_draw(scene, times, footage, seed))))
        pixels = torch.stack(chunk).flatten(0, 1).transpose(1, 2)
        with fast_autocast(torch.device("cpu")):
            mean = vae.encode(pixels).latent_dist.mean
        latents.append(mean.float().half().transpose(1, 2).unflatten(0, (len(chunk), 4)))
    stacked = torch.cat(latents)
    return LatentSet(stacked, prompts, *_moments(stacked))


def _draw(scene: Scene, times: Tensor, footage: SceneSelection, seed: int) -> TrueLayers:
    size = HEIGHT // footage.shrink, WIDTH // footage.shrink
    if footage.quality == EXACT:
        return render(scene, times, *size)
    # Faults are measured in pixels of the full size.
    layers = QUALITIES[footage.quality](render(scene, times), random.Random(seed))
    return TrueLayers(
        **{name: F.interpolate(layer, size, mode="area") for name, layer in vars(layers).items()}
    )


def _moments(latents: Tensor) -> tuple[Tensor, Tensor]:
    per_channel = latents.float().transpose(0, 3).flatten(1)
    return per_channel.mean(1), per_channel.std(1)


def write_latents(rank: int, folder: str, sets: tuple[str, ...]) -> None:
    """One process of the encoding; together they write ``{name}.safetensors`` of every set that is not there yet."""
    import torch.distributed as dist

    root, count = Path(folder), dist.get_world_size()
    vae = build_world_vae().eval()
    vae.load_state_dict(torch.load(final_weights(root, VAE), weights_only=True))
    for name in sets:
        footage = SETS[name]
        if not (root / f"{name}.safetensors").exists():
            share = footage.scenes // count
            first = footage.first_seed + rank * share
            encode_scenes(vae, footage, range(first, first + share)).save(
                root / f"{name}.{rank}.part"
            )
            dist.barrier()
            if rank == 0:
                _join(root, name, count, sets[0])
        dist.barrier()


def _join(root: Path, name: str, count: int, first: str) -> None:
    parts = [LatentSet.load(root / f"{name}.{r}.part") for r in range(count)]
    latents = torch.cat([p.latents for p in parts])
    reference = None if name == first else LatentSet.load(root / f"{first}.safetensors")
    mean, std = (reference.mean, reference.std) if reference else _moments(latents)
    LatentSet(latents, [prompt for p in parts for prompt in p.prompts], mean, std).save(
        root / f"{name}.safetensors"
    )
    for r in range(count):
        (root / f"{name}.{r}.part").unlink()
