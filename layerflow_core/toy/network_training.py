"""Trains the embedded LayerFlow on latents of the procedural world.

The objective is the official one: mean squared error of v over the generated clips, the given ones clean, all at one
timestep, text dropped per segment. What makes so small a network learn to copy within minutes is initialisation
alone: attention that matches positions from the first step.

Legend: B batch, T latent frames (four clips of F), C, H, W latent; D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn

from ..config import ModelConfig, NetworkConfig
from ..layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, Layout, find_layout
from ..model.network import LayerFlowNetwork
from ..model.text import TextEncoder, build_t5, indexed
from ..sampling.schedule import Schedule
from ..training.objective import TEXT_DROP, LayerObjective, mix_seed
from ..training.trainee import Trainee
from ..training.trainer import Trainer
from .attention import HeadByHead
from .captions import TOKENS_PER_TEXT, tokenizer_json, vocabulary
from .curriculum import CURRICULA, Stage
from .latents import LatentSet
from .workers import final_weights, finish

WIDTH, HEADS, BLOCKS = 192, 3, 6
TEXT_WIDTH = 64
TIME_WIDTH = 128
# How long a picture's height is on the axis of the usual table: long, so that neighbouring patches differ, and the same at
# every resolution, so that what a word means for a place does not change with it.
PICTURE_HEIGHT = 40.0
QK_GAIN = 1.4
TIMESTEPS = 1000
OBJECT_DISTANCE = 0.25  # mean difference from grey, in normalised latents, that counts as object
FAR = 900  # timesteps from here on are nearly pure noise: only words can help

T5 = {
    "d_model": TEXT_WIDTH, "d_kv": 32, "num_heads": 2, "d_ff": 128, "num_layers": 2, "vocab_size": len(vocabulary()),
    "feed_forward_proj": "gated-gelu", "pad_token_id": 0, "eos_token_id": 1, "dropout_rate": 0.0, "tie_word_embeddings": False,
}  # fmt: skip


def network_config(layout: str, frames: int, latent: tuple[int, int, int]) -> ModelConfig:
    """Config of a network of the procedural world.

    Args:
        layout: row of ``layout.LAYOUTS``.
        frames: latent frames of a clip.
        latent: [C, H, W] of one.
    """
    channels, height, width = latent
    row = find_layout(layout)
    row = replace(row, clips=tuple(replace(clip, frames=frames) for clip in row.clips))
    network = NetworkConfig(
        num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, num_layers=BLOCKS, time_embed_dim=TIME_WIDTH,
        text_embed_dim=TEXT_WIDTH, latent_channels=channels, latent_height=height, latent_width=width,
        patch_size=2, tokens_per_text=TOKENS_PER_TEXT,
    )  # fmt: skip
    return ModelConfig(layout=row, network=network, unified=True, text_encoder=T5)


class ClipPositions(nn.Module):
    """Position table out of one learned vector per clip: sincos positions that restart with every clip, plus it; and
    learned text rows (some official variants have them), because words stand at fixed places in a caption and a place
    is found sooner than a meaning.

    A parametrization of ``LayerFlowNetwork.position_table``; removed at export, where the plain table is left.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        from diffusers.models.embeddings import get_3d_sincos_pos_embed

        network, layout = config.network, config.layout
        frames = layout.clips[0].frames
        size = (network.latent_width // network.patch_size, network.latent_height // network.patch_size)
        grid = torch.as_tensor(get_3d_sincos_pos_embed(network.hidden_size, size, frames, size[1] / PICTURE_HEIGHT, 1.0, output_type="pt"))
        self.register_buffer("grid", grid.flatten(0, 1).float(), persistent=False)
        self.clips = layout.network_frames // frames  # one if clips lie on each other as channels
        self.text_rows = nn.Parameter(0.5 * torch.randn(config.text_length, network.hidden_size, generator=torch.Generator().manual_seed(2)))

    def forward(self, clip_vectors: Tensor) -> Tensor:
        """[clips, D] -> [1, text + video tokens, D]."""
        video = (self.grid[None] + clip_vectors[:, None]).flatten(0, 1)
        return torch.cat([self.text_rows, video])[None]

    def right_inverse(self, table: Tensor) -> Tensor:
        return 0.5 * torch.randn(self.clips, table.shape[-1], generator=torch.Generator().manual_seed(1))


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


class SceneTrainee(Trainee):
    """Network and text encoder, trained together under the paper's loss."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = LayerFlowNetwork(config).unfold()
        parametrize.register_parametrization(self.network, "position_table", ClipPositions(config), unsafe=True)
        start_matching_positions(self.network)
        self.t5 = build_t5(config.text_encoder)
        self.objective, self._watched = LayerObjective(Schedule()), {}

    @property
    def layout(self) -> Layout:
        return self.network.config.layout

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        drawn = SceneBatch(**batch)
        v = self.predict(self.objective.noisy(drawn), drawn.ids, drawn.keep_text, drawn.timestep)
        per_frame = self.objective.per_frame(v, drawn, drawn.weight)
        self._watched = self._watch(per_frame.detach(), drawn)
        return self.objective.per_sample(per_frame, drawn)

    def predict(self, latents: Tensor, ids: Tensor, keep_text: Tensor, timestep: Tensor) -> Tensor:
        """v [B, T, C, H, W]."""
        encoded = self.t5(input_ids=ids.flatten(0, 1)).last_hidden_state.unflatten(0, ids.shape[:2])
        context = (encoded * keep_text[:, :, None, None]).flatten(1, 2)
        with HeadByHead():
            return self.network(latents, context, timestep)

    def watched(self) -> dict[str, float]:
        return self._watched

    def _watch(self, per_frame: Tensor, batch: SceneBatch) -> dict[str, float]:
        """Losses with the blend given and with nothing given: copying shows as their difference, words far from the end."""
        spans = {name: self.layout.span(name) for name in (FOREGROUND, ALPHA, BACKGROUND)}
        apart, free = batch.given[:, self.layout.span(BLENDED)].all(1), ~batch.given.any(1)
        rows = {"apart": apart, "free": free, "far": free & (batch.timestep >= FAR)}
        return {f"{name}|{label}": float(per_frame[row, span].mean()) for label, row in rows.items() for name, span in spans.items() if row.any()}


def start_matching_positions(network: LayerFlowNetwork) -> None:
    """Initialise so that every token first attends to its own position in all clips.

    Keys start equal to queries and the QK norms sharpen; gates start open and modulation neutral.
    """
    width = network.config.network.hidden_size
    with torch.no_grad():
        for block in network.backbone.transformer_blocks:
            attention = block.attn1
            attention.to_k.weight.copy_(attention.to_q.weight)
            for bias in (attention.to_q.bias, attention.to_k.bias):
                bias.zero_()
            for norm in (attention.norm_q, attention.norm_k):
                norm.weight.fill_(QK_GAIN)
            for norm in (block.norm1, block.norm2):
                norm.linear.weight.mul_(0.1)
                shift_scale_gate = torch.tensor([0.0, 0.0, 1.0]).repeat(2).repeat_interleave(width)
                norm.linear.bias.copy_(shift_scale_gate)
        network.backbone.norm_out.linear.weight.mul_(0.1)
        network.backbone.norm_out.linear.bias.zero_()
        network.backbone.proj_out.weight.mul_(0.1)


class SceneBatches:
    """Draws the batches of a stage.

    Args:
        latents: [n, clips, F, C, h, w] normalised, clips in layout order.
        ids: [n, S, L] token ids of the scenes' prompts.
    """

    def __init__(self, layout: Layout, latents: Tensor, ids: Tensor, stage: Stage, seed: int) -> None:
        self.layout, self.latents, self.ids, self.stage, self.seed = layout, latents, ids, stage, seed

    def draw(self, step: int, samples: range) -> SceneBatch:
        drawn = [self._draw_one(torch.Generator().manual_seed(mix_seed(self.seed, step, number))) for number in samples]
        return SceneBatch(*(torch.stack(column) for column in zip(*drawn)))

    def _draw_one(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        stage, layout = self.stage, self.layout
        pick = int(torch.randint(len(self.latents), (), generator=generator))
        first = int(torch.randint(self.latents.shape[2] - stage.frames + 1, (), generator=generator))
        clean = self.latents[pick, :, first : first + stage.frames].flatten(0, 1).float()
        names = list(stage.tasks)[int(torch.multinomial(torch.tensor(list(stage.tasks.values())), 1, generator=generator))]
        given = torch.zeros(layout.frames, dtype=torch.bool)
        given[list(layout.giving(*names).given_frames)] = True
        timestep = (torch.rand((), generator=generator) ** stage.noise_power * TIMESTEPS).long()
        noise = torch.randn(clean.shape, generator=generator)
        return clean, noise, given, self.ids[pick], self._keep_text(names, generator), timestep, self._weigh(clean)

    def _keep_text(self, given: Sequence[str], generator: torch.Generator) -> Tensor:
        keep = torch.rand(len(self.layout.texts), generator=generator) >= TEXT_DROP
        keep &= torch.rand((), generator=generator) >= TEXT_DROP  # of all together, too: guidance needs a base
        # Who takes a video apart rarely describes it as a whole: that segment is often empty then.
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


def train_stage(rank: int, folder: str, seed: int, curriculum: str, number: int) -> None:
    """One process of the training of a stage of ``CURRICULA``; goes on from the stage before, writes its ``final_weights``."""
    torch.manual_seed(seed)
    root, row = Path(folder), CURRICULA[curriculum]
    stage = row.stages[number]
    data = LatentSet.load(root / f"{stage.data}.safetensors")
    trainee = SceneTrainee(network_config(row.layout, stage.frames, data.latents.shape[3:]))
    if number:
        trainee.load_state_dict(torch.load(final_weights(root, row.stages[number - 1].name), weights_only=True))
    tokens = TextEncoder.from_data(tokenizer_json().encode(), trainee.t5, TOKENS_PER_TEXT)
    batches = SceneBatches(trainee.layout, data.normalised(), token_ids(tokens, data.prompts), stage, seed)
    finish(Trainer(trainee, batches, stage.plan, root / stage.name), trainee, final_weights(root, stage.name))


def token_ids(encoder: TextEncoder, prompts: list[list[str]]) -> Tensor:
    """[n, S, L] ids of the indexed prompts."""
    cache: dict[str, Tensor] = {}
    rows = []
    for scene in prompts:
        texts = [indexed(i, prompt) for i, prompt in enumerate(scene)]
        rows.append(torch.stack([cache.setdefault(t, encoder.token_ids(t)) for t in texts]))
    return torch.stack(rows)
