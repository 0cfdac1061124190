"""Attention over the whole sequence: one projection for query, key and value, and the kernel that does the rest.

Legend: B batch, S tokens (text and video), H heads, d head width, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SamplingError

AUTO = "auto"
# Our names, and diffusers' for the same kernels. SageAttention works in 8 bits and is never taken unasked.
KERNELS: Mapping[str, str] = {
    "sdpa": "native",
    "flash": "_native_flash",
    "cudnn": "_native_cudnn",
    "sage": "sage",
}
_HOPPER = (9, 0)
_HALVES = (torch.float16, torch.bfloat16)
_QKV = ("to_q", "to_k", "to_v")


class SequenceAttention:
    """What diffusers calls a processor: attention of one block over text and video together.

    Args:
        kernel: key of ``KERNELS``.
        parallel: diffusers' ``ParallelConfig`` where the sequence is split over processes.
    """

    def __init__(self, kernel: str = "sdpa", parallel: object | None = None) -> None:
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
        attended = self._attend(attn.norm_q(query), attn.norm_k(key), value).flatten(2)
        attended = attn.to_out[1](attn.to_out[0](attended))
        return attended[:, texts:], attended[:, :texts]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, S, H, d] each, and so is the result."""
        if self._parallel is None and self.kernel == "sdpa":
            query, key, value = (x.transpose(1, 2) for x in (query, key, value))
            return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        from diffusers.models.attention_dispatch import dispatch_attention_fn

        return dispatch_attention_fn(
            query, key, value, backend=KERNELS[self.kernel], parallel_config=self._parallel
        )


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
def plain_kernel(backbone: nn.Module) -> Iterator[None]:
    """Inside this context torch's own attention is used: not every kernel runs on tensors without data."""
    with _processors(backbone, lambda processor: SequenceAttention()):
        yield


@contextmanager
def parallel_attention(backbone: nn.Module, parallel: object) -> Iterator[None]:
    """Inside this context attention goes over several processes.

    Args:
        parallel: diffusers' ``ParallelConfig``.
    """

    def split(processor: object) -> SequenceAttention:
        return SequenceAttention(
            processor.kernel if isinstance(processor, SequenceAttention) else "sdpa", parallel
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


def best_kernel(device: torch.device, dtype: torch.dtype) -> str:
    """cuDNN's on Hopper cards in half precision, where it is the fastest exact one; else torch's own choice."""
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) == _HOPPER
    return "cudnn" if hopper and dtype in _HALVES and _has_dispatch() else "sdpa"


def check_kernel(kernel: str) -> None:
    """Raises SamplingError if the kernel is unknown or something it needs is not installed."""
    if kernel not in KERNELS:
        raise SamplingError(
            f"got unknown attention kernel {kernel!r}, expected {AUTO} or one of {', '.join(KERNELS)}"
        )
    if kernel != "sdpa" and not _has_dispatch():
        raise SamplingError(
            f"got attention kernel {kernel!r}, this diffusers knows only its own: install "
            "diffusers 0.35 or newer, or take sdpa"
        )
    if kernel == "sage" and find_spec("sageattention") is None:
        raise SamplingError(
            "got attention kernel 'sage', SageAttention is not installed: pip install sageattention, or take auto"
        )


def _has_dispatch() -> bool:
    return find_spec("diffusers.models.attention_dispatch") is not None


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
