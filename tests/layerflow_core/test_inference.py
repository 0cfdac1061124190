import copy
import shutil
from dataclasses import replace

import pytest
import torch

from layerflow_core import inference
from layerflow_core.config import NetworkConfig
from layerflow_core.errors import SamplingError
from layerflow_core.inference import (
    ComputeOptions,
    LoadOptions,
    in_fp8,
    load_for_inference,
    prepare_for_inference,
    with_approximations,
    with_compute,
)
from layerflow_core.model import kernels
from layerflow_core.model.fp8 import FP8
from layerflow_core.model.kernels import AUTO
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.lora_file import attach_lora, share_weights, write_lora
from layerflow_core.runtime.devices import OffloadingDevices
from layerflow_core.runtime.peaks import network_peak
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.weights.components import Components

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
    got = call(
        prepare_for_inference(attach_lora(readied, [tmp_path / "content.safetensors"])), inputs
    )
    assert torch.allclose(got, expected, atol=1e-4 * float(expected.abs().max())) and torch.equal(
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


def state_of(model):
    """What computes, where it lies, how it is laid out, and what the model says of itself."""
    kernels = [block.attn1.processor.kernel for block in model.network.backbone.transformer_blocks]
    parts = (model.network, model.vae.vae)
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    places = [(tensor.data_ptr(), tensor.stride(), tensor.dtype) for tensor in tensors]
    return kernels, places, model.config, dict(model.sampler_overrides), model.provenance


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_computing_otherwise_changes_nothing_of_the_model(quick_model, device, monkeypatch):
    """Nothing computes here, so the GPU need not be there."""
    monkeypatch.setattr(kernels, "refusal", lambda *asked: None)
    model = prepare_for_inference(
        replace(quick_model, network=share_weights(quick_model.network), provenance=("toy",))
    )
    before = state_of(model)
    other = with_compute(model, ComputeOptions("cudnn", compiled=True), torch.device(device))
    assert state_of(model) == before
    assert {block.attn1.processor.kernel for block in blocks_of(other)} == {"cudnn"}
    assert not any(block._compiled_call_impl for block in blocks_of(model))
    assert (other.vae is model.vae) == (device == "cpu")
    undone = with_compute(other, ComputeOptions("sdpa"), CPU)
    assert not any(block._compiled_call_impl for block in blocks_of(undone))


def blocks_of(model):
    return model.network.backbone.transformer_blocks


def test_a_gpu_s_vae_is_laid_out_once(quick_model):
    """The second copy shares every tensor with the first: a node after a node costs no memory."""
    cuda = torch.device("cuda")
    first = with_compute(quick_model, ComputeOptions("sdpa"), cuda)
    second = with_compute(first, ComputeOptions("sdpa"), cuda)
    convolutions = [m for m in first.vae.vae.modules() if isinstance(m, torch.nn.Conv3d)]
    layout = torch.channels_last_3d
    assert convolutions
    assert all(m.weight.is_contiguous(memory_format=layout) for m in convolutions)
    pairs = zip(first.vae.vae.parameters(), second.vae.vae.parameters())
    assert all(ours is theirs for ours, theirs in pairs)
    originals = quick_model.vae.vae.state_dict()
    copies = first.vae.vae.state_dict()
    assert all(torch.equal(originals[key], copies[key]) for key in originals)


def test_approximations_go_before_what_the_checkpoint_says(model):
    stated = replace(
        model.config,
        sampler={"steps": 20, "step_cache": 0.3},
        sampler_given={"blended": {"scale": 1.5, "guidance_margin": 0.4}},
    )
    model = replace(model, config=stated)
    faster = with_approximations(model, step_cache=0.1)
    assert faster.config is stated
    assert faster.sampler_for() == {"steps": 20, "step_cache": 0.1, "guidance_margin": 0.0}
    assert faster.sampler_for(["blended"])["guidance_margin"] == 0.0
    assert faster.sampler_for(["blended"])["scale"] == 1.5
    assert model.sampler_for() == stated.sampler_for()
    exact = with_approximations(faster)
    assert exact.sampler_for()["step_cache"] == 0.0


def test_every_part_has_the_precision_that_was_asked_for():
    options = LoadOptions("fp16", text_precision="fp8", vae_precision="fp32")
    model = load_for_inference(EMBEDDED, CPU, options)
    block = model.text.t5.encoder.block[0]
    assert model.network.position_table.dtype == torch.float16
    assert model.vae.vae.dtype == torch.float32
    assert block.layer[0].SelfAttention.q.weight.dtype == FP8
    assert block.layer[-1].DenseReluDense.wo.weight.dtype == torch.bfloat16
    assert {"torch.float16", "torch.bfloat16", "torch.float32"} <= set(model.provenance)
    same = load_for_inference(EMBEDDED, CPU, LoadOptions("fp16"))
    assert same.text.t5.encoder.block[0].layer[-1].DenseReluDense.wo.weight.dtype == torch.float32
    assert [made for made in same.provenance if "torch" in made] == ["torch.float16"]


def test_a_file_becomes_a_model_that_is_ready():
    """Of the precision that was asked for, its matrices in 8 bits, projections fused, strengths set."""
    asked = []
    options = LoadOptions("fp8", content=0.5, compute=ComputeOptions("flash"))

    def find_parts(config):
        asked.append(config.layout.name)
        return Components()

    model = load_for_inference(EMBEDDED, CPU, options, find_parts)
    block = blocks_of(model)[0]
    assert asked == [model.config.layout.name]
    assert block.attn1.to_qkv.weight.dtype == FP8
    assert model.network.position_table.dtype == torch.bfloat16
    assert block.attn1.processor.kernel == "flash"
    assert model.strengths == {"content": 0.5, "motion": 0.0}
    assert model.source == EMBEDDED


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
        with_compute(in_fp8(model, False, CPU), ComputeOptions(compiled=True), CPU)


def test_plain_devices_take_a_fused_network(model, inputs_for):
    prepare_for_inference(model)
    OffloadingDevices("cpu").use(model.network, 0)
    assert call(model, inputs_for(model.network)).isfinite().all()


def test_products_in_fp8_where_the_device_has_them(model, monkeypatch, caplog):
    def able(made):
        modules = made.network.backbone.transformer_blocks.modules()
        return any(getattr(module, "multiplies_in_fp8", False) for module in modules)

    assert not able(in_fp8(copy.deepcopy(model), True, CPU))
    assert "cpu has no products in fp8" in caplog.text
    monkeypatch.setattr(inference, "multiplies_fp8", lambda device: True)
    assert able(in_fp8(copy.deepcopy(model), True, CPU))
    assert not able(in_fp8(copy.deepcopy(model), False, CPU))
