"""The network of the procedural world with its text encoder, as it trains.

The objective is the official one: mean squared error of v over the generated clips, the given ones clean, all at one
timestep. What makes so small a network learn to copy within minutes is initialisation alone: attention that matches
positions from the first step.

Legend: B batch, T latent frames (four clips of F), C, H, W latent; S text segments of L tokens; D hidden size.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn

from ..config import ModelConfig, NetworkConfig
from ..layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, Layout, find_layout
from ..model.network import LayerFlowNetwork
from ..model.text import build_t5
from ..sampling.schedule import Schedule
from ..training.objective import LayerObjective
from ..training.training_module import TrainingModule
from .captions import TOKENS_PER_TEXT, vocabulary
from .head_by_head import HeadByHead
from .scene_batches import SceneBatch

WIDTH, HEADS, BLOCKS = 192, 3, 6
TEXT_WIDTH = 64
TIME_WIDTH = 128
# How long an image's height is on the axis of the usual table: long, so that neighbouring patches
# differ, and the same at
# every resolution, so that what a word means for a place does not change with it.
IMAGE_HEIGHT = 40.0
QK_GAIN = 1.4
FAR = 900  # timesteps from here on are nearly pure noise: only words can help

T5 = {
    "d_model": TEXT_WIDTH,
    "d_kv": 32,
    "num_heads": 2,
    "d_ff": 128,
    "num_layers": 2,
    "vocab_size": len(vocabulary()),
    "feed_forward_proj": "gated-gelu",
    "pad_token_id": 0,
    "eos_token_id": 1,
    "dropout_rate": 0.0,
    "tie_word_embeddings": False,
}


def network_config(layout: str, frames: int, latent: tuple[int, int, int]) -> ModelConfig:
    """Config of a network of the procedural world.

    Args:
        layout: key of ``layout.LAYOUTS``.
        frames: latent frames of a clip.
        latent: [C, H, W] of one.
    """
    channels, height, width = latent
    row = find_layout(layout)
    row = replace(row, clips=tuple(replace(clip, frames=frames) for clip in row.clips))
    network = NetworkConfig(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        num_layers=BLOCKS,
        time_embed_dim=TIME_WIDTH,
        text_embed_dim=TEXT_WIDTH,
        latent_channels=channels,
        latent_height=height,
        latent_width=width,
        patch_size=2,
        tokens_per_text=TOKENS_PER_TEXT,
    )
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
        size = (
            network.latent_width // network.patch_size,
            network.latent_height // network.patch_size,
        )
        grid = torch.as_tensor(
            get_3d_sincos_pos_embed(
                network.hidden_size, size, frames, size[1] / IMAGE_HEIGHT, 1.0, output_type="pt"
            )
        )
        self.register_buffer("grid", grid.flatten(0, 1).float(), persistent=False)
        self.clips = layout.network_frames // frames  # one if clips lie on each other as channels
        self.text_rows = nn.Parameter(
            0.5
            * torch.randn(
                config.text_length, network.hidden_size, generator=torch.Generator().manual_seed(2)
            )
        )

    def forward(self, clip_vectors: Tensor) -> Tensor:
        """[clips, D] -> [1, text + video tokens, D]."""
        video = (self.grid[None] + clip_vectors[:, None]).flatten(0, 1)
        return torch.cat([self.text_rows, video])[None]

    def right_inverse(self, table: Tensor) -> Tensor:
        return 0.5 * torch.randn(
            self.clips, table.shape[-1], generator=torch.Generator().manual_seed(1)
        )


class SceneTrainingModule(TrainingModule):
    """Network and text encoder, trained together under the paper's loss."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = LayerFlowNetwork(config).unfold()
        parametrize.register_parametrization(
            self.network, "position_table", ClipPositions(config), unsafe=True
        )
        start_matching_positions(self.network)
        self.t5 = build_t5(config.text_encoder)
        self.objective, self._metrics = LayerObjective(Schedule()), {}

    @property
    def layout(self) -> Layout:
        return self.network.config.layout

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        drawn = SceneBatch(**batch)
        v = self.predict(self.objective.noisy(drawn), drawn.ids, drawn.keep_text, drawn.timestep)
        per_frame = self.objective.per_frame(v, drawn, drawn.weight)
        self._metrics = self._measure(per_frame.detach(), drawn)
        return self.objective.per_sample(per_frame, drawn)

    def predict(self, latents: Tensor, ids: Tensor, keep_text: Tensor, timestep: Tensor) -> Tensor:
        """v [B, T, C, H, W]."""
        encoded = self.t5(input_ids=ids.flatten(0, 1)).last_hidden_state.unflatten(0, ids.shape[:2])
        context = (encoded * keep_text[:, :, None, None]).flatten(1, 2)
        with HeadByHead():
            return self.network(latents, context, timestep)

    def metrics(self) -> dict[str, float]:
        return self._metrics

    def _measure(self, per_frame: Tensor, batch: SceneBatch) -> dict[str, float]:
        """Losses with the blend given and with nothing given: copying shows as their difference,
        words far from the end.
        """
        spans = {name: self.layout.span(name) for name in (FOREGROUND, ALPHA, BACKGROUND)}
        apart, free = batch.given[:, self.layout.span(BLENDED)].all(1), ~batch.given.any(1)
        rows = {"apart": apart, "free": free, "far": free & (batch.timestep >= FAR)}
        return {
            f"{name}|{label}": float(per_frame[row, span].mean())
            for label, row in rows.items()
            for name, span in spans.items()
            if row.any()
        }


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
