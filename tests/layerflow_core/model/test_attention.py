from copy import deepcopy

import pytest
import torch

from layerflow_core.errors import SamplingError
from layerflow_core.model import attention
from layerflow_core.model.attention import (
    KERNELS,
    best_kernel,
    fuse_qkv,
    plain_kernel,
    split_qkv,
    use_kernel,
)
from layerflow_core.model.fp8 import store_in_fp8, widened
from layerflow_core.model.lora import add_adapter


@pytest.fixture
def network(make_network):
    return make_network("gen_rgba")


@torch.inference_mode()
def call(network, inputs):
    with widened(network):
        return network(*inputs)


def test_one_projection_gives_what_three_gave(network, inputs_for):
    inputs = inputs_for(network, 2)
    expected, names = call(network, inputs), set(network.state_dict())
    fuse_qkv(network.backbone)
    assert not any(".to_q." in name for name in network.state_dict())
    assert torch.allclose(call(network, inputs), expected, atol=1e-6)
    fused = network.backbone.transformer_blocks[0].attn1.to_qkv.weight
    split_qkv(network.backbone)
    assert set(network.state_dict()) == names
    assert (
        network.backbone.transformer_blocks[0].attn1.to_q.weight.data_ptr() == fused.data_ptr()
    ), "splitting copies nothing"
    assert torch.allclose(call(network, inputs), expected, atol=1e-6)


def test_8_bits_are_fused_as_they_are(network, inputs_for):
    inputs = inputs_for(network)
    store_in_fp8(network)
    expected = call(network, inputs)
    fuse_qkv(network.backbone)
    assert torch.allclose(call(network, inputs), expected, atol=1e-6)


def test_projections_with_lora_are_left_alone(network):
    add_adapter(network.backbone, "content", 2, ["transformer_blocks.0.attn1.to_v"])
    fuse_qkv(network.backbone)
    first, second = network.backbone.transformer_blocks
    assert hasattr(first.attn1, "to_q") and not hasattr(second.attn1, "to_q")


def test_flash_and_plain_agree_where_both_run(network, inputs_for):
    """torch's flash kernel has a CPU form, so diffusers' dispatch can be compared here."""
    pytest.importorskip("diffusers.models.attention_dispatch")
    inputs, other = inputs_for(network), deepcopy(network)
    for kernel, net in (("sdpa", network), ("flash", other)):
        use_kernel(net.backbone, kernel)
    assert torch.allclose(call(other, inputs), call(network, inputs), atol=1e-5)
    with plain_kernel(other.backbone):
        assert torch.equal(call(other, inputs), call(network, inputs))
    assert other.backbone.transformer_blocks[0].attn1.processor.kernel == "flash"


def test_what_is_not_here_is_named(network, monkeypatch):
    with pytest.raises(SamplingError, match="unknown attention kernel 'magic'"):
        use_kernel(network.backbone, "magic")
    with pytest.raises(SamplingError, match="pip install sageattention|install diffusers 0.35"):
        use_kernel(network.backbone, "sage")
    monkeypatch.setattr(attention, "_has_dispatch", lambda: False)
    with pytest.raises(SamplingError, match="diffusers 0.35"):
        use_kernel(network.backbone, "flash")


def test_auto_takes_cudnn_on_hopper_in_half_precision_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(attention, "_has_dispatch", lambda: True)
    cuda = torch.device("cuda")
    assert best_kernel(cuda, torch.bfloat16) == "cudnn"
    assert (
        best_kernel(cuda, torch.float32)
        == best_kernel(torch.device("cpu"), torch.bfloat16)
        == "sdpa"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert best_kernel(cuda, torch.bfloat16) == "sdpa"


def test_diffusers_knows_every_kernel():
    dispatch = pytest.importorskip("diffusers.models.attention_dispatch")
    assert set(KERNELS.values()) <= {name.value for name in dispatch.AttentionBackendName}
