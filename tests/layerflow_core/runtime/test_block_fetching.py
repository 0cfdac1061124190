import pytest
import torch
from torch import nn

from layerflow_core.model.residence import entries_of
from layerflow_core.runtime import block_fetching
from layerflow_core.runtime.block_fetching import fetched_by_block

CPU = torch.device("cpu")
CARD = torch.device("meta")


class Chain(nn.Module):
    """Blocks of different sizes between two layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(self._block(width) for width in (8, 16, 4, 16, 8))
        self.last = nn.Linear(8, 2)

    @staticmethod
    def _block(width):
        return nn.Sequential(nn.Linear(8, width), nn.GELU(), nn.Linear(width, 8))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


@pytest.fixture
def chain():
    torch.manual_seed(0)
    return Chain().requires_grad_(False)


def places(part):
    return [(entry.name, entry.tensor) for entry in entries_of(part)]


def test_fetching_is_exact_and_leaves_all_as_it_was(chain):
    x = torch.randn(3, 4)
    expected = chain(x)
    before = places(chain)
    with fetched_by_block(chain, chain.blocks, CPU):
        assert torch.equal(chain(x), expected)
        assert torch.equal(chain(x), expected), "a second call, from the first block on"
    after = places(chain)
    assert all(ours[1] is theirs[1] for ours, theirs in zip(after, before, strict=True))
    assert not any("_compiled_call_impl" in vars(module) for module in chain.modules())
    assert torch.equal(chain(x), expected)


def test_blocks_called_out_of_turn_are_fetched_too(chain):
    """A step cache leaves blocks out."""
    x = torch.randn(3, 8)
    order = (0, 3, 3, 1, 2, 4, 0)
    expected = [chain.blocks[number](x) for number in order]
    with fetched_by_block(chain, chain.blocks, CPU):
        found = [chain.blocks[number](x) for number in order]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected))


def test_no_more_than_two_blocks_and_what_is_beside_them_are_on_the_device(chain, monkeypatch):
    made = []
    empty = torch.empty

    def counted(*size, **options):
        made.append(size)
        return empty(*size, **options)

    monkeypatch.setattr(block_fetching.torch, "empty", counted)
    with fetched_by_block(chain, chain.blocks, CARD):
        chain.blocks[0](torch.empty(3, 8, device=CARD))
        there = {id(tensor) for _, tensor in places(chain) if tensor.device == CARD}
        outside = {id(tensor) for layer in (chain.first, chain.last) for _, tensor in places(layer)}
        assert there == outside, "blocks go as they came"
    largest = max(sum(tensor.nbytes for tensor in block.parameters()) for block in chain.blocks)
    buffers = [size[0] for size in made if isinstance(size[0], int) and size[0] >= largest]
    assert len(buffers) == 2
    assert max(buffers) < largest + 4 * 256


def test_after_an_error_all_is_as_it_was(chain):
    before = places(chain)

    def fail(module, inputs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    chain.blocks[2][1].register_forward_pre_hook(fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        with fetched_by_block(chain, chain.blocks, CPU):
            chain(torch.randn(3, 4))
    assert all(ours[1] is theirs[1] for ours, theirs in zip(places(chain), before, strict=True))


def test_compiled_blocks_are_not_compiled_again(chain):
    from torch._dynamo.utils import counters

    x = torch.randn(3, 4)
    expected = chain(x)
    for block in chain.blocks:
        block.compile(backend="eager", dynamic=False)
    with torch.inference_mode():
        chain(x)
        graphs = counters["stats"]["unique_graphs"]
        with fetched_by_block(chain, chain.blocks, CPU):
            assert torch.equal(chain(x), expected)
        assert torch.equal(chain(x), expected)
    assert counters["stats"]["unique_graphs"] == graphs
