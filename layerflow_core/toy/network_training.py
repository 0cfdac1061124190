"""Trains the embedded LayerFlow on latents of the procedural world.

The objective is the official one: mean squared error of v over the generated clips, the given ones clean, all at one
timestep, text dropped per segment. What makes so small a network learn to copy within minutes is initialisation
alone: attention that matches positions from the first step.

Legend: B batch, T latent frames (four clips of F), C, H, W latent; D hidden size.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn

from ..config import ModelConfig, NetworkConfig
from ..layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, Layout, find_layout
from ..model.network import LayerFlowNetwork
from ..model.text import TextEncoder, build_t5, indexed
from ..sampling.schedule import Schedule
from .attention import HeadByHead
from .captions import TOKENS_PER_TEXT, tokenizer_json, vocabulary
from .curriculum import CURRICULA, Stage
from .fitting import fit
from .latents import LatentSet

WIDTH, HEADS, BLOCKS = 192, 3, 6
TEXT_WIDTH = 64
TIME_WIDTH = 128
POSITION_STEP = 10.0  # patches as far apart as ten pixels of the usual table, so that neighbours differ
QK_GAIN = 1.4
TEXT_DROP = 0.1  # of each segment on its own (official), and of all together, so that guidance has a base
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
        grid = torch.as_tensor(get_3d_sincos_pos_embed(network.hidden_size, size, frames, 1 / POSITION_STEP, 1.0, output_type="pt"))
        self.register_buffer("grid", grid.flatten(0, 1).float(), persistent=False)
        self.clips = layout.network_frames // frames  # one if clips lie on each other as channels
        self.text_rows = nn.Parameter(0.5 * torch.randn(config.text_length, network.hidden_size, generator=torch.Generator().manual_seed(2)))

    def forward(self, clip_vectors: Tensor) -> Tensor:
        """[clips, D] -> [1, text + video tokens, D]."""
        video = (self.grid[None] + clip_vectors[:, None]).flatten(0, 1)
        return torch.cat([self.text_rows, video])[None]

    def right_inverse(self, table: Tensor) -> Tensor:
        return 0.5 * torch.randn(self.clips, table.shape[-1], generator=torch.Generator().manual_seed(1))


class Trainee(nn.Module):
    """Network and text encoder, trained together."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = LayerFlowNetwork(config).unfold()
        parametrize.register_parametrization(self.network, "position_table", ClipPositions(config), unsafe=True)
        start_matching_positions(self.network)
        self.t5 = build_t5(config.text_encoder)

    @property
    def layout(self) -> Layout:
        return self.network.config.layout

    def forward(self, latents: Tensor, ids: Tensor, keep_text: Tensor, timestep: Tensor) -> Tensor:
        """v [B, T, C, H, W].

        Args:
            ids: [B, S, L] token ids.
            keep_text: [B, S] bool; a dropped segment is zeros.
        """
        encoded = self.t5(input_ids=ids.flatten(0, 1)).last_hidden_state.unflatten(0, ids.shape[:2])
        context = (encoded * keep_text[:, :, None, None]).flatten(1, 2)
        with HeadByHead():
            return self.network(latents, context, timestep)


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


class LayerLoss:
    """v-MSE on the generated clips of randomly drawn tasks (paper section 3.2; official loss).

    Args:
        latents: [n, clips, F, C, H, W] normalised, clips in layout order.
        ids: [n, S, L] token ids of the scenes' prompts.
    """

    def __init__(self, trainee: Trainee, latents: Tensor, ids: Tensor, stage: Stage, schedule: Schedule) -> None:
        self.trainee, self.latents, self.ids, self.stage = trainee, latents, ids, stage
        self.roots = schedule.denoiser_table

    def __call__(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        names, stage = self.trainee.layout.names, self.stage
        pick = torch.randint(len(self.latents), (stage.batch,), generator=generator)
        clips, frames = self.latents[pick], self.latents.shape[2]
        if stage.frames < frames:
            moment = int(torch.randint(frames, (), generator=generator))
            clips = clips[:, :, moment : moment + 1]
        clean = clips.flatten(1, 2).float()
        tasks = list(stage.tasks)
        drawn = torch.multinomial(torch.tensor(list(stage.tasks.values())), stage.batch, replacement=True, generator=generator)
        given = torch.tensor([[name in tasks[d] for name in names] for d in drawn.tolist()])
        keep = torch.rand(stage.batch, len(self.trainee.layout.texts), generator=generator) >= TEXT_DROP
        keep &= torch.rand(stage.batch, 1, generator=generator) >= TEXT_DROP
        # Who takes a video apart rarely describes it as a whole: that segment is often empty then.
        blended_given = given[:, names.index(BLENDED)]
        keep[:, -1] &= ~blended_given | (torch.rand(stage.batch, generator=generator) < 0.5)
        t = (torch.rand(stage.batch, generator=generator) ** stage.noise_power * len(self.roots)).long()
        noise = torch.randn(clean.shape, generator=generator)
        return self._terms(clean, noise, t, given, keep, self.ids[pick])

    def _terms(self, clean: Tensor, noise: Tensor, t: Tensor, given: Tensor, keep: Tensor, ids: Tensor) -> dict[str, Tensor]:
        frames = self.stage.frames
        a = self.roots[t].view(-1, 1, 1, 1, 1)
        b = (1 - a * a).sqrt()
        frame_given = given.repeat_interleave(frames, 1)[:, :, None, None, None]
        noisy = torch.where(frame_given, clean, a * clean + b * noise)
        with torch.autocast("cpu", torch.bfloat16):
            v = self.trainee(noisy, ids, keep, t)
        weight = self._focus(clean)
        squared = (v.float() - (a * noise - b * clean)).square() * weight
        error = (squared.mean((2, 3, 4)) / weight.mean((2, 3, 4))).unflatten(1, (-1, frames)).mean(2)
        loss = error[~given].mean()
        return {"loss": loss, **self._watched(error.detach(), given, t)}

    def _focus(self, clean: Tensor) -> Tensor:
        """[B, T, 1, H, W] weights: where the foreground differs from its commonest value, which is grey, the object is."""
        names = self.trainee.layout.names
        clips = clean.unflatten(1, (len(names), -1))
        foreground = clips[:, names.index(FOREGROUND)]
        grey = foreground.flatten(3).median(-1).values[..., None, None]
        there = (foreground - grey).abs().mean(2, keepdim=True) > OBJECT_DISTANCE
        weight = torch.ones_like(clips[:, :, :, :1])
        for name in (FOREGROUND, BLENDED):
            weight[:, names.index(name)] += (self.stage.focus - 1) * there
        return weight.flatten(1, 2)

    def _watched(self, error: Tensor, given: Tensor, t: Tensor) -> dict[str, Tensor]:
        """Losses with the blend given and with nothing given: copying shows as their difference, words far from the end."""
        names = self.trainee.layout.names
        apart, free = given[:, names.index(BLENDED)], ~given.any(1)
        rows = {"apart": apart, "free": free, "far": free & (t >= FAR)}
        return {f"{name}|{label}": error[row, names.index(name)].mean() for label, row in rows.items() for name in (FOREGROUND, ALPHA, BACKGROUND) if row.any()}


def train_network(rank: int, folder: str, seed: int, curriculum: str) -> None:
    """One process of the training: every stage of a row of ``CURRICULA`` in turn, each resumable."""
    torch.manual_seed(seed)
    root, row, before = Path(folder), CURRICULA[curriculum], None
    for stage in row.stages:
        data = LatentSet.load(root / f"{stage.data}.safetensors")
        trainee = Trainee(network_config(row.layout, stage.frames, data.latents.shape[3:]))
        if before is not None:
            trainee.load_state_dict(before)
        tokens = TextEncoder.from_data(tokenizer_json().encode(), trainee.t5, TOKENS_PER_TEXT)
        ids = token_ids(tokens, data.prompts)
        loss = LayerLoss(trainee, data.normalised(), ids, stage, Schedule())
        finished = root / f"{stage.name}_final.pt"
        if finished.exists():
            trainee.load_state_dict(torch.load(finished, weights_only=True))
        else:
            fit(trainee, loss, stage.plan, root / f"{stage.name}_state.pt", stage.name)
            if rank == 0:
                torch.save(trainee.state_dict(), finished)
            dist.barrier()
        before = trainee.state_dict()


def token_ids(encoder: TextEncoder, prompts: list[list[str]]) -> Tensor:
    """[n, S, L] ids of the indexed prompts."""
    cache: dict[str, Tensor] = {}
    rows = []
    for scene in prompts:
        texts = [indexed(i, prompt) for i, prompt in enumerate(scene)]
        rows.append(torch.stack([cache.setdefault(t, encoder.token_ids(t)) for t in texts]))
    return torch.stack(rows)
