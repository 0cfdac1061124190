import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerflow_core.model.chunked_attention import attend_in_chunks
from layerflow_core.runtime.memory import WORKSPACE, count_peak

SHAPE = (2, 3, 50, 8)


@pytest.mark.parametrize("limit", [1, 500, 3500, 25000, 60000, 10**9])
def test_every_bound_gives_what_torch_gives(limit):
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, *SHAPE, generator=generator)
    expected = F.scaled_dot_product_attention(query, key, value)
    found = attend_in_chunks(query, key, value, limit)
    assert torch.allclose(found, expected, atol=1e-6)


def test_scores_of_bf16_are_float32():
    generator = torch.Generator().manual_seed(0)
    halves = (torch.randn(3, *SHAPE, generator=generator) * 4).bfloat16()
    expected = F.scaled_dot_product_attention(*halves.float())
    error = (attend_in_chunks(*halves).float() - expected).abs().max()
    assert error < 2**-7 * expected.abs().max()


@pytest.mark.parametrize(("heads", "tokens"), [(30, 20000), (4, 3000)])
def test_memory_stays_under_the_bound(heads, tokens):
    """The whole matrix of scores would be 96 GB in the first case."""
    limit = 64 * 1024**2

    class Attend(nn.Module):
        def forward(self, x):
            return attend_in_chunks(x, x, x, limit)

    def call(module):
        return module(torch.zeros(1, heads, tokens, 64, dtype=torch.bfloat16))

    peak = count_peak(Attend(), call, torch.device("cpu")) - WORKSPACE
    tensors = 3 * heads * tokens * 64 * 2
    assert peak < tensors + 1.3 * limit
