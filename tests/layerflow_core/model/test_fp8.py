from copy import deepcopy

import pytest
import torch

from layerflow_core.model.fp8 import FP8, store_in_fp8, to_fp8, widened
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.lora_file import attach_lora, write_lora
from layerflow_core.runtime.memory import count_peak, size_of
from layerflow_core.runtime.placement import offloaded_by_block


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
    with offloaded_by_block(network, network.backbone, torch.device("cpu")):
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
