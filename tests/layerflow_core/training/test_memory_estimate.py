from dataclasses import replace

import torch

from layerflow_core.training.memory_estimate import GIB, estimate_memory
from layerflow_core.training.plan import TrainPlan
from layerflow_core.training.stages import choose_trainable

PLAN = TrainPlan(steps=1, ema_decay=0.99)


def test_a_lora_costs_a_small_part_of_full_training(make_network):
    network = make_network("gen_rgba", content=2)
    choose_trainable(network, None, "every")
    whole = estimate_memory(network, PLAN)
    trained = sum(p.numel() for n, p in network.named_parameters() if ".lora_" not in n)
    assert (
        whole.gradients == 4 * trained
        and whole.optimiser == 8 * trained
        and whole.average == 4 * trained
    )
    choose_trainable(network, "content", "every")
    assert estimate_memory(network, PLAN).optimiser < whole.optimiser / 10


def test_checkpointing_and_small_batches_need_less(make_network):
    network = make_network("gen_rgba")
    choose_trainable(network, None, "every")
    kept, recomputed = (
        estimate_memory(network, replace(PLAN, gradient_checkpointing=c)).activations
        for c in (False, True)
    )
    assert recomputed < kept
    assert estimate_memory(network, replace(PLAN, batch=3)).activations == 3 * recomputed
    assert "GiB a device" in str(estimate_memory(network, PLAN)) and GIB == 2**30


def test_weights_count_at_their_own_precision(make_network):
    network = make_network("gen_rgba")
    choose_trainable(network, None, "every")
    full = estimate_memory(network, PLAN).weights
    assert estimate_memory(network.to(torch.bfloat16), PLAN).weights == full / 2
