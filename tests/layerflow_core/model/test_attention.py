from copy import deepcopy

import pytest
import torch

from layerflow_core.model import attention
from layerflow_core.model.attention import counted_kernel, fuse_qkv, split_qkv, use_kernel
from layerflow_core.model.fp8 import store_in_fp8, widened
from layerflow_core.model.lora import add_adapter

CPU = torch.device("cpu")


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
    """torch's flash kernel has a CPU form."""
    inputs, other = inputs_for(network), deepcopy(network)
    for kernel, net in (("sdpa", network), ("flash", other)):
        use_kernel(net.backbone, kernel)
    assert torch.allclose(call(other, inputs), call(network, inputs), atol=1e-5)
    with counted_kernel(other.backbone, CPU, torch.float32):
        assert torch.equal(call(other, inputs), call(network, inputs))
    assert other.backbone.transformer_blocks[0].attn1.processor.kernel == "flash"


def test_a_kernel_that_refuses_at_work_is_replaced_once_and_said(network, inputs_for, caplog):
    """cuDNN's, which is not on this CPU, ends in torch's RuntimeError."""
    inputs = inputs_for(network)
    expected = call(network, inputs)
    use_kernel(network.backbone, "cudnn")
    assert torch.allclose(call(network, inputs), expected, atol=1e-5)
    assert "cudnn refuses" in caplog.text and "sdpa takes over" in caplog.text
    said = len(caplog.records)
    call(network, inputs)
    assert len(caplog.records) == said


def test_a_kernel_that_runs_out_of_memory_is_not_replaced(network, inputs_for, monkeypatch):
    use_kernel(network.backbone, "flash")

    def fail(query, key, value):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(attention._OWN, "flash", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        call(network, inputs_for(network))


def test_torchs_kernels_copy_no_projection(network, inputs_for, monkeypatch):
    """Query, key and value are views of one product, and reach the kernel as such."""
    fuse_qkv(network.backbone)
    use_kernel(network.backbone, "flash")
    seen = []
    monkeypatch.setitem(
        attention._OWN, "flash", lambda q, k, v: seen.append((q, k, v)) or q * 0 + v.mean()
    )
    call(network, inputs_for(network))
    *_, value = seen[0]
    assert value.stride(2) == 3 * value.shape[1] * value.shape[3]


def test_what_is_counted_is_what_will_be_allocated(network, monkeypatch):
    """Without a fused kernel that is the matrix of scores, unless it comes in chunks."""

    def kernels_counted():
        with counted_kernel(network.backbone, CPU, torch.float32):
            return {attn.processor.kernel for attn in attention.attentions(network.backbone)}

    use_kernel(network.backbone, "sdpa")
    assert kernels_counted() == {"sdpa"}
    monkeypatch.setattr(attention, "has_fused_kernel", lambda device, dtype: False)
    assert kernels_counted() == {"with scores"}
    use_kernel(network.backbone, "chunked")
    assert kernels_counted() == {"chunked"}
