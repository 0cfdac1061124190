from copy import deepcopy

import pytest
import torch

from layerflow_core.model.fp8 import FP8, multiply_in_fp8, store_in_fp8, to_fp8, widened
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.lora_file import attach_lora, write_lora
from layerflow_core.runtime.block_fetching import fetched_by_block
from layerflow_core.runtime.memory import count_peak, size_of


@pytest.fixture
def network(make_network):
    return make_network("gen_rgba")


def call(network, inputs):
    with torch.inference_mode(), widened(network):
        return network(*inputs)


def test_values_are_rounded_and_never_lost():
    values = torch.tensor([0.0, 1.0, -1.06, 447.0, 1e4, -1e9])
    assert to_fp8(values).float().tolist() == [0.0, 1.0, -1.0, 448.0, 448.0, -448.0]


def test_matrices_are_stored_small_and_computed_wide(network, inputs_for):
    inputs, before = inputs_for(network), size_of(network)
    expected, rounded = network(*inputs), deepcopy(network)
    for module in rounded.backbone.transformer_blocks.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = to_fp8(module.weight.data).float()
    store_in_fp8(network)
    kinds = {
        p.dtype
        for name, p in network.named_parameters()
        if "transformer_blocks" in name and p.ndim == 2
    }
    assert (
        kinds == {FP8}
        and network.position_table.dtype == torch.float32
        and size_of(network) < 0.8 * before
    )
    assert torch.equal(call(network, inputs), rounded(*inputs))
    assert 0 < (call(network, inputs) - expected).std() < 0.2 * expected.std()
    assert all(
        not module._forward_hooks and not module._forward_pre_hooks for module in network.modules()
    )


def test_a_failed_call_leaves_the_weights_small(network, inputs_for):
    store_in_fp8(network)
    latents, context, timestep = inputs_for(network)
    network.backbone.transformer_blocks[0].ff.net[2].register_forward_pre_hook(
        lambda *_: (_ for _ in ()).throw(RuntimeError("in the middle"))
    )
    with pytest.raises(RuntimeError, match="in the middle"):
        call(network, (latents, context, timestep))
    assert all(
        p.dtype == FP8 for name, p in network.named_parameters() if name.endswith("net.2.weight")
    )
    assert not any("_stored" in module.__dict__ for module in network.modules())


def test_it_goes_with_fetched_blocks_and_with_lora(network, make_network, inputs_for, tmp_path):
    inputs = inputs_for(network)
    write_lora(tmp_path / "content.safetensors", make_network("gen_rgba", content=2), "content")
    model = LayerFlowModel(network.config, store_in_fp8(network))
    plain = call(network, inputs)
    blocks = network.backbone.transformer_blocks
    with fetched_by_block(network, blocks, torch.device("cpu")):
        assert torch.equal(call(network, inputs), plain)
    attached = attach_lora(model, [tmp_path / "content.safetensors"])
    assert not torch.allclose(call(attached.network, inputs), plain, atol=1e-2)
    assert torch.equal(call(network, inputs), plain)


def test_its_peak_is_counted(network, inputs_for):
    inputs = inputs_for(network)
    shapes = [i.shape for i in inputs]

    def made(module):
        return module(*(torch.zeros(shape) for shape in shapes))

    wide = count_peak(network, made, torch.device("cpu"))
    narrow = count_peak(
        store_in_fp8(network.bfloat16()),
        lambda m: m(*(torch.zeros(s, dtype=torch.bfloat16) for s in shapes)),
        torch.device("cpu"),
    )
    assert narrow < wide


def test_products_in_8_bits_are_those_of_rounded_tokens_and_weights():
    """The scale brings the largest token to fp8's largest number, so what is rounded is known."""
    torch.manual_seed(0)
    tokens = torch.randn(2, 40, 32) * 30
    weight, bias = to_fp8(torch.randn(48, 32)), torch.randn(48)
    scale = tokens.abs().max() / 448
    rounded = (tokens / scale).to(FP8).float() * scale
    expected = torch.nn.functional.linear(rounded, weight.float(), bias)
    found = multiply_in_fp8(tokens, weight, bias)
    assert found.shape == (2, 40, 48) and torch.allclose(found, expected, rtol=1e-4, atol=1e-2)
    exact = torch.nn.functional.linear(tokens, weight.float(), bias)
    assert 0 < (found - exact).norm() / exact.norm() < 0.05


def test_few_rows_and_tokens_of_zero_are_exact():
    weight, bias = to_fp8(torch.randn(16, 16)), torch.randn(16)
    few = torch.randn(2, 16)
    exact = torch.nn.functional.linear(few, weight.float(), bias)
    assert torch.equal(multiply_in_fp8(few, weight, bias), exact)
    zeros = multiply_in_fp8(torch.zeros(64, 16), weight, bias)
    assert torch.equal(zeros, bias.expand(64, 16))


def test_a_network_that_multiplies_in_8_bits(network, inputs_for):
    """Matrices whose sides 16 does not divide are widened; the others are not, and block fetching changes nothing."""
    inputs = inputs_for(network)
    stored = deepcopy(network)
    expected = call(store_in_fp8(stored), inputs)
    store_in_fp8(network, multiply=True)
    linears = [
        m for m in network.backbone.transformer_blocks.modules() if isinstance(m, torch.nn.Linear)
    ]
    able = [m for m in linears if m.multiplies_in_fp8]
    assert able and all(m.in_features % 16 == m.out_features % 16 == 0 for m in able)
    found = call(network, inputs)
    assert 0 < (found - expected).norm() / expected.norm() < 0.1
    assert not any("forward" in vars(module) for module in network.modules())
    with fetched_by_block(network, list(network.backbone.transformer_blocks), torch.device("cpu")):
        assert torch.equal(call(network, inputs), found)
