"""Scenes of the procedural world as VAE latents, made once and kept in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .vae_training import build_vae, model_clips
from .world import FRAMES, HEIGHT, WIDTH, draw_scene, render

CHUNK = 16  # scenes encoded at once


@dataclass(frozen=True)
class LatentSet:
    """Encoded scenes.

    Args:
        latents: [n, 4 clips, F, C, h, w] float16, unnormalised posterior means, in the order foreground, alpha, background, blended.
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

        save_file({"latents": self.latents, "mean": self.mean, "std": self.std}, str(path), {"prompts": json.dumps(self.prompts)})

    @classmethod
    def load(cls, path: Path) -> LatentSet:
        from ..model.checkpoint import read_tensors

        tensors, metadata = read_tensors(path)
        return cls(tensors["latents"], json.loads(metadata["prompts"]), tensors["mean"], tensors["std"])


@torch.inference_mode()
def encode_scenes(vae, seeds: range, stills: bool) -> LatentSet:
    """Encode training scenes: whole clips at full size, or one random moment of each at half size."""
    latents, prompts = [], []
    for start in range(0, len(seeds), CHUNK):
        chunk = []
        for seed in seeds[start : start + CHUNK]:
            scene = draw_scene(seed, held_out=False)
            prompts.append(list(scene.prompts.values()))
            times = torch.rand(1, generator=torch.Generator().manual_seed(seed)) if stills else torch.linspace(0, 1, FRAMES)
            layers = render(scene, times, *((HEIGHT // 2, WIDTH // 2) if stills else (HEIGHT, WIDTH)))
            chunk.append(torch.stack(model_clips(layers)))
        pixels = torch.stack(chunk).flatten(0, 1).transpose(1, 2)
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(pixels).latent_dist.mean
        latents.append(mean.float().half().transpose(1, 2).unflatten(0, (len(chunk), 4)))
    stacked = torch.cat(latents)
    return LatentSet(stacked, prompts, *_moments(stacked))


def _moments(latents: Tensor) -> tuple[Tensor, Tensor]:
    per_channel = latents.float().transpose(0, 3).flatten(1)
    return per_channel.mean(1), per_channel.std(1)


def write_latents(rank: int, folder: str, clips: int, stills: int) -> None:
    """One process of the encoding; together they write ``clips.safetensors`` and ``stills.safetensors``."""
    import torch.distributed as dist

    root, count = Path(folder), dist.get_world_size()
    vae = build_vae().eval()
    vae.load_state_dict(torch.load(root / "vae_final.pt", weights_only=True))
    for number, (name, total, first) in enumerate((("clips", clips, 10**8), ("stills", stills, 2 * 10**8))):
        share = total // count
        part = encode_scenes(vae, range(first + rank * share, first + (rank + 1) * share), stills=number == 1)
        part.save(root / f"{name}.{rank}.part")
        dist.barrier()
        if rank == 0:
            _join(root, name, count)
        dist.barrier()


def _join(root: Path, name: str, count: int) -> None:
    parts = [LatentSet.load(root / f"{name}.{r}.part") for r in range(count)]
    latents = torch.cat([p.latents for p in parts])
    # Both sets are normalised as the clips are, so that the stages share one latent space.
    reference = LatentSet.load(root / "clips.safetensors") if name != "clips" else None
    mean, std = (reference.mean, reference.std) if reference else _moments(latents)
    LatentSet(latents, [prompt for p in parts for prompt in p.prompts], mean, std).save(root / f"{name}.safetensors")
    for r in range(count):
        (root / f"{name}.{r}.part").unlink()
