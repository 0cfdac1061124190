"""ViCLIP-L/14 (Wang et al. 2024, InternVid), built from the structure of its public file.

All patches of eight frames and one class token for the clip are attended to jointly; positions are a table for the
places of a frame and one for the frames. Names are those of the file.

Legend: B clips, T frames, N tokens, D width.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clip_words import ClipWords
from .files import VICLIP, fill, find_file, open_source, read_state
from .preprocessing import SIDE, clip_frames, middle_frames

FRAMES = 8
TOKENS = 32
_VOCABULARY = 49408
_BLURRED = 1.702  # QuickGELU's slope


@dataclass(frozen=True)
class ViClipSize:
    """Of both towers.

    Args:
        side: of frames, pixels.
        features: width of what comes out of both.
    """

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 14
    side: int = SIDE
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    features: int = 768
    vocabulary: int = _VOCABULARY


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(_BLURRED * x)


class Block(nn.Module):
    """Attention and a multilayer perceptron, each after a norm and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        layers = OrderedDict(
            c_fc=nn.Linear(width, 4 * width),
            gelu=QuickGELU(),
            c_proj=nn.Linear(4 * width, width),
        )
        self.mlp = nn.Sequential(layers)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D]; mask [N, N], added."""
        inside = self.ln_1(x)
        x = x + self.attn(inside, inside, inside, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VideoTower(nn.Module):
    def __init__(self, size: ViClipSize) -> None:
        super().__init__()
        places = (size.side // size.patch) ** 2 + 1
        kernel = (1, size.patch, size.patch)
        self.conv1 = nn.Conv3d(3, size.width, kernel, kernel, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(size.width))
        self.positional_embedding = nn.Parameter(torch.empty(places, size.width))
        self.temporal_positional_embedding = nn.Parameter(torch.empty(1, FRAMES, size.width))
        self.ln_pre = nn.LayerNorm(size.width)
        self.transformer = Blocks(size.width, size.layers, size.heads)
        self.ln_post = nn.LayerNorm(size.width)
        self.proj = nn.Parameter(torch.empty(size.width, size.features))

    def forward(self, frames: Tensor) -> Tensor:
        """[B, 3, 8, side, side], normalised, to [B, features]."""
        patches = self.conv1(frames).flatten(3).permute(0, 2, 3, 1)
        patches = patches + self.positional_embedding[1:]
        patches = patches + self.temporal_positional_embedding[:, :, None]
        # The file's tokens run through the frames of a place before the next place; order does not
        # matter to attention, and only the class token comes out.
        patches = patches.flatten(1, 2)
        start = (self.class_embedding + self.positional_embedding[0]).expand(len(frames), 1, -1)
        tokens = self.transformer(self.ln_pre(torch.cat([start, patches], 1)))
        return self.ln_post(tokens[:, 0]) @ self.proj


class TextTower(nn.Module):
    def __init__(self, size: ViClipSize) -> None:
        super().__init__()
        width = size.text_width
        self.transformer = Blocks(width, size.text_layers, size.text_heads)
        self.token_embedding = nn.Embedding(size.vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(TOKENS, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, size.features))

    def forward(self, ids: Tensor) -> Tensor:
        """[B, 32] to [B, features]: the feature at the largest id, which is the end."""
        x = self.token_embedding(ids) + self.positional_embedding
        causal = torch.full((TOKENS, TOKENS), -torch.inf, device=x.device).triu(1)
        x = self.ln_final(self.transformer(x, causal))
        ends = x[torch.arange(len(x)), ids.argmax(1)]
        return ends @ self.text_projection


class ViClip(nn.Module):
    """Both towers; ``temp``, the temperature of its training, is in the file and of no use here."""

    def __init__(self, size: ViClipSize = ViClipSize()) -> None:
        super().__init__()
        self.vision_encoder = VideoTower(size)
        self.text_encoder = TextTower(size)
        self.temp = nn.Parameter(torch.empty([]))


class TextAlignment:
    """How well a clip fits a text.

    Raises:
        EvaluationError: a file is missing, or another network's.
    """

    def __init__(
        self, folder: Path | None, device: torch.device, size: ViClipSize = ViClipSize()
    ) -> None:
        path = find_file(VICLIP, folder)
        self._words = ClipWords(folder)
        self._device = device
        with torch.device("meta"):
            self._network = ViClip(size)
        names = {key: key for key in self._network.state_dict()}
        fill(self._network, read_state(open_source(path), names, path), path)
        self._network.eval().to(device)

    @torch.inference_mode()
    def score(self, frames: Tensor, text: str) -> float:
        """Cosine of both features, -1..1.

        Args:
            frames: [T, 3, H, W], 0..255, of which eight are looked at.
        """
        chosen = clip_frames(frames[middle_frames(len(frames), FRAMES)], in_bytes=True)
        clip = chosen.to(self._device).transpose(0, 1)[None]
        of_clip = self._network.vision_encoder(clip)
        of_text = self._network.text_encoder(self._words.encode(text, TOKENS).to(self._device))
        return float(F.cosine_similarity(of_clip.float(), of_text.float()))
