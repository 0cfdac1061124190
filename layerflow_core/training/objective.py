"""The loss: mean squared error of v over the generated clips (paper section 3.2; official loss).

Given clips are clean, take no loss, and see the same timestep as the rest. Everything random about a sample comes from
a generator of its own, so a batch is the same whichever process computes which part of it.

Legend: B batch, T latent frames of the sequence, C, H, W latent; S text segments of L tokens of width D.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..layout import Layout
from ..model.lora import motion_per_sample
from ..model.network import LayerFlowNetwork
from ..sampling.schedule import Schedule
from .data.cache import CachedClip
from .seeding import draw_samples, pick_weighted
from .training_module import TrainingModule

TEXT_DROP = 0.1  # of each segment on its own
TIMESTEPS = 1000


@dataclass(frozen=True)
class Batch:
    """Samples with all that chance decides about them.

    Args:
        clean, noise: [B, T, C, H, W].
        given: [B, T] bool.
        context: [B, S * L, D], dropped segments zero.
        timestep: [B] int, 0..999.
        motion: [B] motion switch.
    """

    clean: Tensor
    noise: Tensor
    given: Tensor
    context: Tensor
    timestep: Tensor
    motion: Tensor


@dataclass(frozen=True)
class Mixture:
    """Caches to draw from.

    Args:
        sources: (clips, motion switch, share) each.
    """

    sources: Sequence[tuple[Sequence[CachedClip], float, float]]

    def draw(self, generator: torch.Generator) -> tuple[CachedClip, float]:
        clips, motion, _ = self.sources[
            pick_weighted((share for _, _, share in self.sources), generator)
        ]
        return clips[int(torch.randint(len(clips), (), generator=generator))], motion


@dataclass(frozen=True)
class BatchMaker:
    """Draws the batches of a training.

    Args:
        tasks: layouts with their weights, see ``stages.task_layouts``.
        seed: same seed, same batches.
    """

    mixture: Mixture
    tasks: Sequence[tuple[Layout, float]]
    seed: int = 0

    def draw(self, step: int, samples: range) -> Batch:
        """Samples of a step by their number in the whole batch of that step, over all processes."""
        return Batch(*draw_samples(self._draw_one, self.seed, step, samples))

    def _draw_one(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        clip, motion = self.mixture.draw(generator)
        clean = clip.draw(generator)
        layout, _ = self.tasks[pick_weighted((weight for _, weight in self.tasks), generator)]
        keep = torch.rand(len(clip.context), 1, 1, generator=generator) >= TEXT_DROP
        context = (clip.context.float() * keep).flatten(0, 1)
        timestep = torch.randint(TIMESTEPS, (), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        return clean, noise, layout.given_mask, context, timestep, torch.tensor(float(motion))


class Noisy(Protocol):
    """The part of a batch that the objective looks at, see ``Batch``."""

    clean: Tensor
    noise: Tensor
    given: Tensor
    timestep: Tensor


class LayerObjective:
    """What a network sees of a batch, and how far its answer is from the truth."""

    def __init__(self, schedule: Schedule) -> None:
        self.roots = schedule.denoiser_table

    def noisy(self, batch: Noisy) -> Tensor:
        """What the network sees, [B, T, C, H, W]."""
        signal, noise = self._levels(batch)
        given = batch.given[:, :, None, None, None]
        return torch.where(given, batch.clean, signal * batch.clean + noise * batch.noise)

    def target(self, batch: Noisy) -> Tensor:
        """v, [B, T, C, H, W]."""
        signal, noise = self._levels(batch)
        return signal * batch.noise - noise * batch.clean

    def per_frame(self, v: Tensor, batch: Noisy, weight: Tensor | None = None) -> Tensor:
        """[B, T] mean squared error of every frame.

        Args:
            weight: [B, T, 1, H, W] of places, official: none.
        """
        squared = (v.float() - self.target(batch)).square()
        if weight is None:
            return squared.mean((2, 3, 4))
        return (squared * weight).mean((2, 3, 4)) / weight.mean((2, 3, 4))

    def per_sample(self, per_frame: Tensor, batch: Noisy) -> Tensor:
        """[B] mean over each sample's generated frames."""
        generated = ~batch.given
        return (per_frame * generated).sum(1) / generated.sum(1)

    def _levels(self, batch: Noisy) -> tuple[Tensor, Tensor]:
        signal = self.roots.to(batch.clean)[batch.timestep].view(-1, 1, 1, 1, 1)
        return signal, (1 - signal * signal).sqrt()


class LayerTrainingModule(TrainingModule):
    """A network with its LoRA under the paper's loss; the motion switch is per sample."""

    def __init__(
        self,
        network: LayerFlowNetwork,
        objective: LayerObjective,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.unfold()
        self.objective = objective
        if gradient_checkpointing:
            network.backbone.enable_gradient_checkpointing()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        drawn = Batch(**batch)
        v = self.network(self.objective.noisy(drawn), drawn.context, drawn.timestep)
        return self.objective.per_sample(self.objective.per_frame(v, drawn), drawn)

    def step_context(self, batch: dict[str, Tensor]) -> AbstractContextManager:
        return motion_per_sample(self.network.backbone, batch["motion"])
