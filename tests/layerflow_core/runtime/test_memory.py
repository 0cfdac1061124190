import logging

import pytest
import torch
from torch import nn

from layerflow_core.errors import OutOfMemoryError
from layerflow_core.runtime.memory import (
    NETWORK_PLANS,
    WORKSPACE,
    FallbackPlans,
    count_peak,
    is_out_of_memory,
    size_at_work,
    size_of,
)

CPU = torch.device("cpu")
NEEDS = dict(zip((plan.name for plan in NETWORK_PLANS), (900, 500, 100)))


class Chain(nn.Module):
    """Three matrices; no more than an input, an output and the one before are alive at a time."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(100, 100, bias=False) for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_a_peak_is_counted_to_the_byte_and_computes_nothing():
    chain, row = Chain(), 1000 * 100 * 4
    assert (
        count_peak(chain, lambda module: module(torch.zeros(1000, 100)), CPU) - WORKSPACE == 3 * row
    )  # the caller's input lives on
    assert (
        count_peak(chain, lambda module: module(torch.zeros(2000, 100)), CPU) - WORKSPACE == 6 * row
    )
    huge = nn.Linear(10, 10)
    assert count_peak(huge, lambda module: module(torch.zeros(10**10, 10)), CPU) > 800 * 10**9


def test_attention_is_counted_without_its_matrix():
    class Attend(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    tokens = 20000
    peak = (
        count_peak(Attend(), lambda module: module(torch.zeros(1, 2, tokens, 64)), CPU) - WORKSPACE
    )
    assert peak < 0.1 * tokens * tokens * 4


def test_weights_at_work():
    chain = Chain()
    whole, by_block = NETWORK_PLANS[0], NETWORK_PLANS[-1]
    assert size_at_work(chain, list(chain.blocks), whole) == size_of(chain) == 3 * 40000
    assert size_at_work(chain, list(chain.blocks), by_block) == 2 * 40000


@pytest.mark.parametrize(("free", "taken"), [(1000, 0), (900, 0), (899, 1), (400, 2), (1, 2)])
def test_the_fastest_plan_that_fits_is_taken_and_said(free, taken, caplog):
    with caplog.at_level(logging.INFO, "layerflow_core"):
        ladder = FallbackPlans("transformer", NETWORK_PLANS, lambda plan: NEEDS[plan.name], free)
    assert ladder.plan == NETWORK_PLANS[taken]
    assert f"transformer: {NETWORK_PLANS[taken].name}" in caplog.text and len(caplog.records) == 1


def test_nobody_knows_what_is_free():
    assert FallbackPlans("x", NETWORK_PLANS, lambda plan: 1 / 0).plan == NETWORK_PLANS[0]


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_goes_down_once_per_plan(error, caplog):
    tried = []

    def work(plan):
        tried.append(plan)
        if len(tried) < 3:
            raise error
        return "done"

    ladder = FallbackPlans("transformer", NETWORK_PLANS)
    assert ladder.run(work) == "done" and tried == list(NETWORK_PLANS)
    assert ladder.run(lambda plan: plan) == NETWORK_PLANS[-1]
    assert caplog.text.count("out of memory") == 2


def test_when_nothing_fits_the_error_says_what_to_do():
    def work(plan):
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(OutOfMemoryError, match="block by block.*close what else uses memory"):
        FallbackPlans("transformer", NETWORK_PLANS).run(work)


def test_other_errors_are_not_taken_for_it():
    error = RuntimeError("shapes cannot be multiplied")
    assert not is_out_of_memory(error)
    with pytest.raises(RuntimeError, match="shapes"):
        FallbackPlans("x", NETWORK_PLANS).run(lambda plan: (_ for _ in ()).throw(error))
