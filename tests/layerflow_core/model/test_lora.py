import pytest
import torch

from layerflow_core.errors import CheckpointError
from layerflow_core.model.lora import adapter_names, merge, set_strengths


@pytest.fixture
def network(make_network):
    return make_network("gen_rgba", content=4, motion=2)


def test_motion_is_off_and_content_on_by_default(network, inputs_for):
    inputs = inputs_for(network)
    default = network(*inputs)
    set_strengths(network.backbone, {"content": 1.0, "motion": 0.0})
    assert torch.equal(network(*inputs), default)
    for changed in ({"motion": 1.0}, {"content": 0.0}, {"content": 0.5}):
        set_strengths(network.backbone, changed)
        assert not torch.allclose(network(*inputs), default, atol=1e-4)


def test_strength_zero_is_the_bare_network(make_network, inputs_for):
    bare, adapted = make_network("gen_rgba"), make_network("gen_rgba", content=4, motion=2)
    from layerflow_core.model.loading import network_tensors

    own = {
        k: v for k, v in network_tensors(adapted).items() if not k.startswith(("content", "motion"))
    }
    bare.load_state_dict(own)
    set_strengths(adapted.backbone, {"content": 0.0, "motion": 0.0})
    inputs = inputs_for(bare)
    assert torch.allclose(adapted(*inputs), bare.fold()(*inputs), atol=1e-6)


@pytest.mark.parametrize("strengths", [{}, {"content": 0.7, "motion": 0.4}, {"content": 0.0}])
def test_merging_changes_nothing_but_removes_the_adapters(network, inputs_for, strengths):
    inputs = inputs_for(network)
    set_strengths(network.backbone, strengths)
    before = network(*inputs)
    merge(network.backbone)
    assert adapter_names(network.backbone) == ()
    assert torch.allclose(network(*inputs), before, atol=1e-4)


def test_merging_spares_weights_that_are_shared(network, inputs_for):
    from layerflow_core.model.lora_file import share_weights

    inputs = inputs_for(network)
    set_strengths(network.backbone, {"content": 1.0})
    before = network(*inputs)
    merge(share_weights(network).backbone)
    assert torch.equal(network(*inputs), before)


def test_scale_is_one_over_rank(make_network):
    network = make_network("gen_rgb", content=4)
    layer = network.backbone.transformer_blocks[0].attn1.to_q
    x = torch.randn(3, 32)
    expected = (
        layer.get_base_layer()(x)
        + x @ layer.lora_A["content"].weight.T @ layer.lora_B["content"].weight.T / 4
    )
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_strength_of_an_absent_adapter_is_refused(make_network):
    with pytest.raises(CheckpointError, match="motion"):
        set_strengths(make_network("gen_rgb", content=4).backbone, {"motion": 1.0})
    set_strengths(make_network("gen_rgb").backbone, {"content": 1.0, "motion": 0.0})
