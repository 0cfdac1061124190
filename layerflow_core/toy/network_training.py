"""Trains the stages of a curriculum on latents of the procedural world."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..layout import indexed
from ..model.text import TextEncoder
from ..training.trainer import Trainer
from .captions import TOKENS_PER_TEXT, tokenizer_json
from .curriculum import CURRICULA
from .latents import LatentSet
from .scene_batches import SceneBatches
from .scene_module import SceneTrainingModule, network_config
from .workers import final_weights, finish


def train_stage(rank: int, folder: str, seed: int, curriculum: str, number: int) -> None:
    """One process of the training of a stage of ``CURRICULA``.

    Goes on from the stage before, writes its ``final_weights``.
    """
    torch.manual_seed(seed)
    root, row = Path(folder), CURRICULA[curriculum]
    stage = row.stages[number]
    data = LatentSet.load(root / f"{stage.data}.safetensors")
    module = SceneTrainingModule(network_config(row.layout, stage.frames, data.latents.shape[3:]))
    if number:
        module.load_state_dict(
            torch.load(final_weights(root, row.stages[number - 1].name), weights_only=True)
        )
    tokens = TextEncoder.from_data(tokenizer_json().encode(), module.t5, TOKENS_PER_TEXT)
    batches = SceneBatches(
        module.layout, data.normalised(), token_ids(tokens, data.prompts), stage, seed
    )
    finish(
        Trainer(module, batches, stage.plan, root / stage.name),
        module,
        final_weights(root, stage.name),
    )


def token_ids(encoder: TextEncoder, prompts: list[list[str]]) -> Tensor:
    """[n, S, L] ids of the indexed prompts."""
    cache: dict[str, Tensor] = {}
    rows = []
    for scene in prompts:
        texts = [indexed(i, prompt) for i, prompt in enumerate(scene)]
        rows.append(torch.stack([cache.setdefault(t, encoder.token_ids(t)) for t in texts]))
    return torch.stack(rows)
