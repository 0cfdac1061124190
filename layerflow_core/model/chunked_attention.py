"""Attention for devices without a fused kernel: some queries and heads at a time, under a bound of memory."""

from __future__ import annotations

import torch
from torch import Tensor

SCORE_BYTES = 512 * 1024**2
"""What one piece's scores may take."""
_BYTES_PER_SCORE = 10  # in float32, as weights in float32, and as those in 16 bits


def attend_in_chunks(query: Tensor, key: Tensor, value: Tensor, limit: int = SCORE_BYTES) -> Tensor:
    """Softmax attention, [B, H, S, d] each, and so is the result. Exact: every query sees all keys.

    Args:
        limit: bytes that the scores of one piece may take; a piece has one query at least.
    """
    keys = key.shape[2]
    queries = max(1, limit // (_BYTES_PER_SCORE * keys))
    heads = max(1, queries // query.shape[2])
    queries_by_head = query.flatten(0, 1)
    transposed = key.flatten(0, 1).transpose(1, 2)
    values = value.flatten(0, 1)
    attended = torch.empty_like(queries_by_head)
    for first in range(0, len(attended), heads):
        some = slice(first, first + heads)
        for start in range(0, query.shape[2], queries):
            rows = slice(start, start + queries)
            piece = queries_by_head[some, rows]
            attended[some, rows] = _attend(piece, transposed[some], values[some])
    return attended.view_as(query)


def _attend(query: Tensor, transposed_key: Tensor, value: Tensor) -> Tensor:
    if value.dtype == torch.bfloat16:
        # Too coarse for a score, which fused kernels keep in float32.
        query = query.float()
        transposed_key = transposed_key.float()
    scale = query.shape[-1] ** -0.5
    nothing = query.new_zeros(1)
    scores = torch.baddbmm(nothing, query, transposed_key, beta=0, alpha=scale)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return torch.bmm(weights, value)
