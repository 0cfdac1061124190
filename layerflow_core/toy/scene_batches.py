"""Batches of scenes for the stages of a curriculum.

Legend: B batch, T latent frames (four clips of F), C, H, W latent; S text segments of L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layout import BLENDED, FOREGROUND, Layout
from ..training.objective import TEXT_DROP, TIMESTEPS
from ..training.seeding import draw_samples, pick_weighted
from .curriculum import CurriculumStage

OBJECT_DISTANCE = 0.25  # mean difference from grey, in normalised latents, that counts as object


@dataclass(frozen=True)
class SceneBatch:
    """Scenes with all that chance decides about them.

    Args:
        clean, noise: [B, T, C, H, W].
        given: [B, T] bool.
        ids: [B, S, L] token ids.
        keep_text: [B, S] bool; a dropped segment is zeros.
        timestep: [B] int, 0..999.
        weight: [B, T, 1, H, W] of places in the loss.
    """

    clean: Tensor
    noise: Tensor
    given: Tensor
    ids: Tensor
    keep_text: Tensor
    timestep: Tensor
    weight: Tensor


class SceneBatches:
    """Draws the batches of a stage.

    Args:
        latents: [n, clips, F, C, h, w] normalised, clips in layout order.
        ids: [n, S, L] token ids of the scenes' prompts.
    """

    def __init__(
        self, layout: Layout, latents: Tensor, ids: Tensor, stage: CurriculumStage, seed: int
    ) -> None:
        self.layout, self.latents, self.ids, self.stage, self.seed = (
            layout,
            latents,
            ids,
            stage,
            seed,
        )

    def draw(self, step: int, samples: range) -> SceneBatch:
        return SceneBatch(*draw_samples(self._draw_one, self.seed, step, samples))

    def _draw_one(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        stage, layout = self.stage, self.layout
        pick = int(torch.randint(len(self.latents), (), generator=generator))
        first = int(
            torch.randint(self.latents.shape[2] - stage.frames + 1, (), generator=generator)
        )
        clean = self.latents[pick, :, first : first + stage.frames].flatten(0, 1).float()
        names = list(stage.tasks)[pick_weighted(stage.tasks.values(), generator)]
        timestep = (torch.rand((), generator=generator) ** stage.noise_power * TIMESTEPS).long()
        noise = torch.randn(clean.shape, generator=generator)
        given = layout.with_given(*names).given_mask
        return (
            clean,
            noise,
            given,
            self.ids[pick],
            self._keep_text(names, generator),
            timestep,
            self._weigh(clean),
        )

    def _keep_text(self, given: Sequence[str], generator: torch.Generator) -> Tensor:
        keep = torch.rand(len(self.layout.texts), generator=generator) >= TEXT_DROP
        keep &= (
            torch.rand((), generator=generator) >= TEXT_DROP
        )  # of all together, too: guidance needs a base
        # Prompts for a decomposition rarely describe it as a whole: that segment is often empty then.
        silent = torch.rand((), generator=generator) < 0.5
        keep[self.layout.texts.index(BLENDED)] &= not (BLENDED in given and silent)
        return keep

    def _weigh(self, clean: Tensor) -> Tensor:
        """[T, 1, h, w]: where the foreground differs from its commonest value, which is grey, the object is."""
        foreground = clean[self.layout.span(FOREGROUND)]
        grey = foreground.flatten(2).median(-1).values[..., None, None]
        there = (foreground - grey).abs().mean(1, keepdim=True) > OBJECT_DISTANCE
        weight = torch.ones_like(clean[:, :1])
        for name in (FOREGROUND, BLENDED):
            weight[self.layout.span(name)] += (self.stage.focus - 1) * there
        return weight
