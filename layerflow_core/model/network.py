"""The transformer: diffusers' CogVideoX network with the checkpoint's own position table and layer embedding.

Legend: B batch, T latent frames, C latent channels, H, W latent size, S text segments, L tokens of one, D hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import LayoutError
from ..layout import PIXELS_PER_LATENT

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel

FINAL_NORM_EPS = 1e-6  # official; diffusers shares one eps of 1e-5 with the blocks


class LayerEmbedder(nn.Module):
    """One learned vector per text segment: LayerNorm(Linear(segment index)) (paper section 3.1)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=1e-5)

    def forward(self, segments: int) -> Tensor:
        """[segments, D]."""
        index = torch.arange(
            segments, device=self.linear.weight.device, dtype=self.linear.weight.dtype
        )
        return self.norm(self.linear(index[:, None]))


class LayerFlowNetwork(nn.Module):
    """Predicts v for a whole sequence of layers.

    The position table is part of the checkpoint: [1, S*L + T*H*W/4, D], added once to text and video tokens. The
    layer embedding is constant per text segment, so it is folded into that table by ``fold``, exactly.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        self.position_table = nn.Parameter(self.backbone.patch_embed.pos_embedding.detach().float())
        self.layer_embedder = (
            LayerEmbedder(config.network.hidden_size) if config.layout.layer_embedding else None
        )
        self._folded = False

    def positions(self) -> Tensor:
        """The table with the layer embedding on its text rows, [1, S*L + video tokens, D]."""
        if self.layer_embedder is None:
            return self.position_table
        config = self.config
        per_segment = self.layer_embedder(config.layout.text_segments)
        embedded = per_segment.repeat_interleave(config.network.tokens_per_text, 0)
        text, video = self.position_table.split([config.text_length, config.video_length], 1)
        return torch.cat([text + embedded, video], 1)

    def fold(self) -> LayerFlowNetwork:
        """Fix the positions for inference; call again after loading weights or moving to another dtype."""
        self.backbone.patch_embed.pos_embedding = self.positions().detach()
        self._folded = True
        return self

    def unfold(self) -> LayerFlowNetwork:
        """Compute the positions again at every call, so that they train."""
        self._folded = False
        return self

    def forward(self, latents: Tensor, context: Tensor, timestep: Tensor) -> Tensor:
        """Predict v.

        Args:
            latents: [B, T, C, H, W], given clips clean, generated ones noisy.
            context: [B, S*L, text width], the segments' T5 outputs one after another; zeros for no text.
            timestep: [B], 0..999.

        Returns:
            [B, T, C, H, W] like ``latents``.

        Raises:
            LayoutError: a shape does not fit the position table.
        """
        self._check(latents, context)
        if not self._folded:
            self.backbone.patch_embed.pos_embedding = self.positions()
        seen = self.config.layout.to_network(latents)
        v = self.backbone(
            hidden_states=seen, encoder_hidden_states=context, timestep=timestep, return_dict=False
        )[0]
        return self.config.layout.from_network(v)

    def _check(self, latents: Tensor, context: Tensor) -> None:
        # diffusers would drop the checkpoint's table for plain sincos positions here, without a word.
        config = self.config
        network = self.config.network
        expected = (
            config.layout.frames,
            network.latent_channels,
            network.latent_height,
            network.latent_width,
        )
        if tuple(latents.shape[1:]) != expected:
            raise LayoutError(
                f"got latents of [T, C, H, W] = {list(latents.shape[1:])}, the checkpoint's "
                f"position table fits {list(expected)} only"
            )
        text = (config.text_length, network.text_embed_dim)
        if tuple(context.shape[1:]) != text:
            raise LayoutError(
                f"got text of [tokens, width] = {list(context.shape[1:])}, layout "
                f"{config.layout.name!r} expects {list(text)}"
            )


def build_backbone(config: ModelConfig) -> CogVideoXTransformer3DModel:
    """diffusers' network in the dimensions of a checkpoint, with official eps; weights are random."""
    from diffusers import CogVideoXTransformer3DModel

    network = config.network
    layout = config.layout
    channels = network.latent_channels * layout.layers_per_frame
    backbone = CogVideoXTransformer3DModel(
        num_attention_heads=network.num_attention_heads,
        attention_head_dim=network.attention_head_dim,
        in_channels=channels,
        out_channels=channels,
        time_embed_dim=network.time_embed_dim,
        text_embed_dim=network.text_embed_dim,
        num_layers=network.num_layers,
        sample_width=network.latent_width,
        sample_height=network.latent_height,
        sample_frames=(layout.network_frames - 1) * PIXELS_PER_LATENT + 1,
        patch_size=network.patch_size,
        temporal_compression_ratio=PIXELS_PER_LATENT,
        max_text_seq_length=config.text_length,
    )
    backbone.norm_out.norm.eps = FINAL_NORM_EPS
    return backbone
