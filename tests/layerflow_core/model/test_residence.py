"""Copies on a device, originals in RAM. The device here is torch's meta device, or another dtype on the CPU."""

import pytest
import torch
from torch import nn

from layerflow_core.model import residence
from layerflow_core.model.lora_file import share_weights
from layerflow_core.model.residence import bring, drop, original, stands_on

CPU = torch.device("cpu")
CARD = torch.device("meta")


@pytest.fixture
def part():
    """Two layers with one weight, and a buffer."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    module[1].weight = module[0].weight
    return module.requires_grad_(False)


def tensors_of(part):
    return [*part.parameters(), *part.buffers()]


def test_originals_come_back(part):
    before = tensors_of(part)
    values = [tensor.clone() for tensor in before]
    bring(part, CARD)
    assert stands_on(part, CARD)
    assert part[0].weight is part[1].weight, "what is tied is copied once and stays tied"
    bring(part, CARD)
    drop(part)
    assert all(ours is theirs for ours, theirs in zip(tensors_of(part), before))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(before, values))


def test_after_an_error_all_is_as_it_was(part, monkeypatch):
    before = tensors_of(part)
    copy = residence._copy

    def failing(tensor, *rest):
        if tensor is part[2].weight:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return copy(tensor, *rest)

    monkeypatch.setattr(residence, "_copy", failing)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        bring(part, CARD)
    assert all(ours is theirs for ours, theirs in zip(tensors_of(part), before))


def test_another_dtype_is_made_of_the_original(part):
    bring(part, CPU, torch.float16)
    assert part[0].weight.dtype == torch.float16
    rounded = part[0].weight.float()
    bring(part, CPU, torch.float32)
    assert part[0].weight is original(part[0].weight)
    assert not torch.equal(part[0].weight, rounded)
    assert part[2].num_batches_tracked.dtype == torch.int64


def test_a_model_made_of_one_on_the_card_shares_the_originals(make_network):
    network = make_network("gen_rgba")
    before = dict(network.named_parameters())
    bring(network, CARD)
    other = share_weights(network)
    assert not stands_on(other, CARD)
    assert all(tensor is before[name] for name, tensor in other.named_parameters())
    assert stands_on(network, CARD)
