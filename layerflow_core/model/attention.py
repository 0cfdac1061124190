"""Attention over the whole sequence: one projection for query, key and value, and the kernel that does the rest.

Legend: B batch, S tokens (text and video), H heads, d head width, D hidden size.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .chunked_attention import attend_in_chunks
from .kernels import (
    CHUNKED,
    KERNELS,
    SDPA,
    TORCH_BACKENDS,
    attend_by,
    check_kernel,
    has_fused_kernel,
    is_refusal,
)

_log = logging.getLogger(__name__)
_QKV = ("to_q", "to_k", "to_v")
_WITH_SCORES = "with scores"  # what torch does without a fused kernel, for callers that count it
_Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
_OWN: Mapping[str, _Attend] = {
    SDPA: F.scaled_dot_product_attention,
    **{name: partial(attend_by, name) for name in TORCH_BACKENDS},
    CHUNKED: attend_in_chunks,
    _WITH_SCORES: partial(attend_in_chunks, limit=sys.maxsize),
}


class SequenceAttention:
    """What diffusers calls a processor: attention of one block over text and video together.

    Args:
        kernel: key of ``KERNELS``.
        parallel: diffusers' ``ParallelConfig`` where the sequence is split over processes.
    """

    def __init__(self, kernel: str = SDPA, parallel: object | None = None) -> None:
        self.kernel, self._parallel = kernel, parallel

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
        image_rotary_emb: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video tokens [B, N, D] and text tokens [B, M, D], both attended.

        CogVideoX-2B has no mask and no rotary positions.
        """
        texts = encoder_hidden_states.shape[1]
        query, key, value = _project(attn, torch.cat([encoder_hidden_states, hidden_states], 1))
        attended = self.attend(attn.norm_q(query), attn.norm_k(key), value).flatten(2)
        attended = attn.to_out[1](attn.to_out[0](attended))
        return attended[:, texts:], attended[:, :texts]

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, S, H, d] each, and so is the result."""
        if self._parallel is not None:
            return self._dispatch(query, key, value)
        attend = self._kernel_function()
        if torch.compiler.is_compiling():
            return attend(query, key, value)
        try:
            return attend(query, key, value)
        except RuntimeError as error:
            if self.kernel == SDPA or not is_refusal(error):
                raise
            reason = str(error).splitlines()[0]
            _log.warning("attention: %s refuses (%s), %s takes over", self.kernel, reason, SDPA)
        self.kernel = SDPA
        return self._kernel_function()(query, key, value)

    def _kernel_function(self) -> _Attend:
        """Of [B, S, H, d] each."""
        own = _OWN.get(self.kernel)
        return self._dispatch if own is None else partial(_attend_alone, own)

    def _dispatch(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        from diffusers.models.attention_dispatch import dispatch_attention_fn

        return dispatch_attention_fn(
            query, key, value, backend=KERNELS[self.kernel], parallel_config=self._parallel
        )


def _attend_alone(attend: _Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[B, S, H, d] each, for a function of [B, H, S, d]."""
    heads_first = (x.transpose(1, 2) for x in (query, key, value))
    return attend(*heads_first).transpose(1, 2)


def _project(attn: nn.Module, tokens: Tensor) -> list[Tensor]:
    """[B, S, D] to query, key and value, [B, S, H, d] each."""
    fused = getattr(attn, "to_qkv", None)
    parts = (
        fused(tokens).chunk(3, -1)
        if fused is not None
        else (getattr(attn, name)(tokens) for name in _QKV)
    )
    return [part.unflatten(-1, (attn.heads, -1)) for part in parts]


def attentions(backbone: nn.Module) -> Iterator[nn.Module]:
    return (block.attn1 for block in backbone.transformer_blocks)


def use_kernel(backbone: nn.Module, kernel: str) -> None:
    """Let every block attend with this key of ``KERNELS``.

    Raises:
        SamplingError: if there is no such kernel, or not here.
    """
    check_kernel(kernel)
    for attn in attentions(backbone):
        attn.set_processor(SequenceAttention(kernel))


@contextmanager
def counted_kernel(backbone: nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside this context attention allocates what it will allocate on a device, and runs without data.

    Not every kernel does that; torch's own stands for all that are fused.
    """
    plain = SDPA if has_fused_kernel(device, dtype) else _WITH_SCORES

    def stand_in(processor: object) -> SequenceAttention:
        is_chunked = isinstance(processor, SequenceAttention) and processor.kernel == CHUNKED
        return SequenceAttention(CHUNKED if is_chunked else plain)

    with _processors(backbone, stand_in):
        yield


@contextmanager
def parallel_attention(backbone: nn.Module, parallel: object) -> Iterator[None]:
    """Inside this context attention goes over several processes.

    Args:
        parallel: diffusers' ``ParallelConfig``.
    """

    def split(processor: object) -> SequenceAttention:
        return SequenceAttention(
            processor.kernel if isinstance(processor, SequenceAttention) else SDPA, parallel
        )

    with _processors(backbone, split):
        yield


@contextmanager
def _processors(
    backbone: nn.Module, change: Callable[[object], SequenceAttention]
) -> Iterator[None]:
    before = [(attn, attn.processor) for attn in attentions(backbone)]
    for attn, processor in before:
        attn.set_processor(change(processor))
    try:
        yield
    finally:
        for attn, processor in before:
            attn.set_processor(processor)


def fuse_qkv(backbone: nn.Module) -> None:
    """One matrix for query, key and value, in place of three; projections with LoRA on them stay as they are."""
    for attn in attentions(backbone):
        parts = [getattr(attn, name, None) for name in _QKV]
        if not all(type(part) is nn.Linear for part in parts):
            continue
        with torch.device("meta"):
            attn.to_qkv = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
        attn.to_qkv.weight = _frozen(torch.cat([part.weight for part in parts]))
        attn.to_qkv.bias = _frozen(torch.cat([part.bias for part in parts]))
        for name in _QKV:
            delattr(attn, name)
        if not isinstance(attn.processor, SequenceAttention):
            attn.set_processor(SequenceAttention())


def split_qkv(backbone: nn.Module) -> None:
    """The inverse of ``fuse_qkv``, for LoRA that speaks of single projections.

    The new matrices are views of the fused one.
    """
    for attn in attentions(backbone):
        if (fused := getattr(attn, "to_qkv", None)) is None:
            continue
        for name, weight, bias in zip(_QKV, fused.weight.chunk(3), fused.bias.chunk(3)):
            with torch.device("meta"):
                part = nn.Linear(fused.in_features, weight.shape[0])
            part.weight, part.bias = _frozen(weight), _frozen(bias)
            setattr(attn, name, part)
        attn.to_qkv = None


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
