"""Steps that hardly change anything are not computed whole.

The first block of the network runs at every step. If what it adds to the generated layers' tokens is nearly what it
added at the last step that was computed, the other blocks' sum of changes from then is added again (first-block
caching, as known from ParaAttention and diffusers). For layered sequences the change is measured layer by layer and
the largest counts: given layers and texts stand still and would hide what moves, and a matte settles later than the
image around it.

Legend: B branches of guidance, N video tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..layout import Layout

T = TypeVar("T")


@dataclass
class _Known:
    """Of one branch, at the last step that was computed: what the first block added, and what all
    others did; [N, D].
    """

    first: Tensor
    others: Tensor


class StepCache:
    """What is known of the steps of one run.

    Args:
        layout: the run's.
        threshold: largest relative change of a layer, 0..1, at which a step is not computed whole.
    """

    def __init__(self, config: ModelConfig, layout: Layout, threshold: float) -> None:
        self._threshold = threshold
        self._tokens = config.network.tokens_per_frame
        self._spans = layout.generated_spans
        self._known: dict[int, _Known] = {}
        self.computed = self.skipped = 0

    def run(self, backbone: nn.Module, branches: Sequence[int], call: Callable[[], T]) -> T:
        """Call the network with these branches in its batch, in order."""
        if not self._threshold:
            return call()
        with self._watching(backbone, branches):
            return call()

    @contextmanager
    def _watching(self, backbone: nn.Module, branches: Sequence[int]) -> Iterator[None]:
        """Inside this context the backbone's blocks are one, which asks this cache after the first of them."""
        blocks = backbone.transformer_blocks
        backbone.transformer_blocks = nn.ModuleList([_AllBlocks(blocks, self, branches)])
        try:
            yield
        finally:
            backbone.transformer_blocks = blocks

    def again(self, added: Tensor, branches: Sequence[int]) -> Tensor | None:
        """The other blocks' sum of the last computed step, [B, N, D], if this one is near enough to it."""
        known = [self._known.get(branch) for branch in branches]
        if any(k is None for k in known) or max(map(self._change, added, known)) >= self._threshold:
            self.computed += 1
            return None
        self.skipped += 1
        return torch.stack([k.others for k in known])

    def _change(self, added: Tensor, known: _Known) -> float:
        """The largest relative change of a layer: mean |new - old| / mean |old| over its generated tokens."""

        def share(frames: slice) -> float:
            span = slice(frames.start * self._tokens, frames.stop * self._tokens)
            old = known.first[span].float()
            return float(
                (added[span].float() - old).abs().mean() / old.abs().mean().clamp(min=1e-12)
            )

        return max(map(share, self._spans))

    def keep(self, added: Tensor, sums: Tensor, branches: Sequence[int]) -> None:
        for index, branch in enumerate(branches):
            self._known[branch] = _Known(added[index], sums[index])


def cached_bytes(config: ModelConfig, width: int) -> int:
    """What the cache of a run takes at most, for both branches.

    Args:
        width: bytes of one number.
    """
    return (
        2
        * 2
        * config.layout.network_frames
        * config.network.tokens_per_frame
        * config.network.hidden_size
        * width
    )


class _AllBlocks(nn.Module):
    """Every block, or the first and what the others did before."""

    def __init__(self, blocks: nn.ModuleList, cache: StepCache, branches: Sequence[int]) -> None:
        super().__init__()
        self._blocks = list(blocks)
        self._cache = cache
        self._branches = branches

    def forward(
        self, hidden_states: Tensor, encoder_hidden_states: Tensor, **conditions
    ) -> tuple[Tensor, Tensor]:
        first, *others = self._blocks
        video, text = first(
            hidden_states=hidden_states, encoder_hidden_states=encoder_hidden_states, **conditions
        )
        added = video - hidden_states
        if (sums := self._cache.again(added, self._branches)) is not None:
            return video + sums, text  # nobody looks at the text after the blocks
        entered = video
        for block in others:
            video, text = block(hidden_states=video, encoder_hidden_states=text, **conditions)
        self._cache.keep(added, video - entered, self._branches)
        return video, text
