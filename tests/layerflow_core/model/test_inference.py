import shutil
from dataclasses import replace

import pytest
import torch

from layerflow_core.config import NetworkConfig
from layerflow_core.devices import OffloadingDevices
from layerflow_core.errors import SamplingError
from layerflow_core.model.attention import AUTO
from layerflow_core.model.inference import ComputeOptions, prepare_for_inference, with_compute
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.lora_file import attach_lora, write_lora
from layerflow_core.placement import network_peak

TINY = NetworkConfig(2, 16, 2, 16, 8, 4, 4, 6, 2, tokens_per_text=5)
CPU = torch.device("cpu")


@pytest.fixture
def model(make_network):
    network = make_network("gen_rgba", content=2)
    return LayerFlowModel(network.config, network)


@torch.inference_mode()
def call(model, inputs):
    return model.network(*inputs)


def test_ready_is_exact_and_computes_no_adapter(model, inputs_for):
    inputs = inputs_for(model.network)
    expected = call(model, inputs)
    prepare_for_inference(prepare_for_inference(model))
    assert not any("lora" in name or ".to_q." in name for name in model.network.state_dict())
    assert torch.allclose(call(model, inputs), expected, atol=1e-4 * float(expected.abs().max()))


def test_lora_goes_onto_a_ready_model(make_network, inputs_for, tmp_path):
    """Splitting, attaching and merging again is what attaching to an untouched model is."""
    write_lora(tmp_path / "content.safetensors", make_network("gen_rgba", content=2), "content")
    plain, inputs = make_network("gen_rgba"), inputs_for(make_network("gen_rgba"))
    expected = call(
        attach_lora(LayerFlowModel(plain.config, plain), [tmp_path / "content.safetensors"]), inputs
    )
    readied = prepare_for_inference(LayerFlowModel(plain.config, plain))
    before = call(readied, inputs)
    met = call(
        prepare_for_inference(attach_lora(readied, [tmp_path / "content.safetensors"])), inputs
    )
    assert torch.allclose(met, expected, atol=1e-4 * float(expected.abs().max())) and torch.equal(
        call(readied, inputs), before
    )


def test_the_model_that_was_given_stays_as_it_is(model):
    prepare_for_inference(model)
    other = with_compute(model, ComputeOptions("sdpa"), CPU)
    assert other.network is not model.network
    assert other.network.position_table.data_ptr() == model.network.position_table.data_ptr()
    assert (
        with_compute(model, ComputeOptions(AUTO), CPU)
        .network.backbone.transformer_blocks[0]
        .attn1.processor.kernel
        == "sdpa"
    )


@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"
)
def test_compiled_blocks_agree_and_share_their_graphs(make_network, inputs_for):
    network = make_network("gen_rgba", dims=replace(TINY, num_layers=5))
    model = LayerFlowModel(network.config, network)
    latents, context, _ = inputs = inputs_for(model.network)
    expected = call(prepare_for_inference(model), inputs)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = with_compute(model, ComputeOptions("sdpa", compiled=True), CPU)
    assert network_peak(compiled, 1, CPU) == network_peak(model, 1, CPU), (
        "memory is counted without compiling"
    )
    assert torch.allclose(call(compiled, inputs), expected, atol=1e-4 * float(expected.abs().max()))
    for timestep in (999, 300, 7):
        call(compiled, (latents * 0.9, context, torch.tensor([timestep])))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == 2, (
        "one for the first block, whose input lies otherwise in memory, one for all others and all steps"
    )


def test_fp8_is_not_compiled(model):
    with pytest.raises(SamplingError, match="choose one of the two"):
        with_compute(prepare_for_inference(model, fp8=True), ComputeOptions(compiled=True), CPU)


def test_plain_devices_take_a_fused_network(model, inputs_for):
    prepare_for_inference(model)
    OffloadingDevices("cpu").use(model.network, 0)
    assert call(model, inputs_for(model.network)).isfinite().all()
