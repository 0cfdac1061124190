import json

import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.errors import CheckpointError
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.lora import set_strengths
from layerflow_core.model.third_party_lora import add_third_party_lora

PATHS = (
    "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.1.attn1.to_out.0",
    "transformer_blocks.1.ff.net.0.proj",
    "proj_out",
)
RANK = 3
NAMES = {
    "peft": "transformer.{path}.lora_{AB}.weight",
    "peft with an adapter's name": "base_model.model.{path}.lora_{AB}.default.weight",
    "diffusers before peft": "transformer.{path}.lora.{downup}.weight",
    "kohya": "{path}.lora_{downup}.weight",
    "ComfyUI": "diffusion_model.{path}.lora_{AB}.weight",
}


@pytest.fixture
def model(make_network):
    network = make_network("gen_rgba", content=2)
    return LayerFlowModel(network.config, network)


def weight_of(model, path):
    module = model.network.backbone.get_submodule(path)
    return getattr(module, "base_layer", module).weight


def deltas(model):
    generator = torch.Generator().manual_seed(3)
    shapes = {path: weight_of(model, path).shape for path in PATHS}
    return {
        path: (
            torch.randn(RANK, s[1], generator=generator) * 0.1,
            torch.randn(s[0], RANK, generator=generator) * 0.1,
        )
        for path, s in shapes.items()
    }


def write(path, pairs, naming="peft", more=None, metadata=None):
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors[NAMES[naming].format(path=name, AB="A", downup="down")] = down
        tensors[NAMES[naming].format(path=name, AB="B", downup="up")] = up
    save_file({**tensors, **(more or {})}, path, metadata)
    return path


@pytest.mark.parametrize("naming", NAMES)
def test_every_naming_changes_the_weights_alike(naming, model, tmp_path):
    pairs = deltas(model)
    changed = add_third_party_lora(model, write(tmp_path / "a.safetensors", pairs, naming), 0.5)
    for path, (down, up) in pairs.items():
        assert torch.allclose(
            weight_of(changed, path), weight_of(model, path) + 0.5 * up @ down, atol=1e-6
        )


def test_the_given_model_stays_and_the_rest_is_shared(model, inputs_for, tmp_path):
    inputs = inputs_for(model.network)
    before = model.network(*inputs)
    path = write(tmp_path / "a.safetensors", deltas(model))
    changed = add_third_party_lora(model, path)
    assert torch.equal(model.network(*inputs), before)
    assert not torch.allclose(changed.network(*inputs), before, atol=1e-3)
    assert weight_of(changed, "transformer_blocks.0.ff.net.2") is weight_of(
        model, "transformer_blocks.0.ff.net.2"
    )
    back = add_third_party_lora(changed, path, -1.0)
    assert torch.allclose(back.network(*inputs), before, atol=1e-4)


def test_it_lies_beneath_the_content_lora(model, inputs_for, tmp_path):
    changed = add_third_party_lora(model, write(tmp_path / "a.safetensors", deltas(model)))
    inputs = inputs_for(model.network)
    on = changed.network(*inputs)
    set_strengths(changed.network.backbone, {"content": 0.0})
    assert not torch.allclose(changed.network(*inputs), on, atol=1e-4)


@pytest.mark.parametrize("where", ["tensor", "metadata"])
def test_alpha_scales(where, model, tmp_path):
    pairs = deltas(model)
    more = (
        {f"transformer.{path}.alpha": torch.tensor(6.0) for path in pairs}
        if where == "tensor"
        else None
    )
    metadata = (
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 6.0, "transformer.r": RANK}
            )
        }
        if where == "metadata"
        else None
    )
    changed = add_third_party_lora(
        model, write(tmp_path / "a.safetensors", pairs, more=more, metadata=metadata)
    )
    for path, (down, up) in pairs.items():
        assert torch.allclose(
            weight_of(changed, path), weight_of(model, path) + 2 * up @ down, atol=1e-6
        )


def test_misfits_are_named_and_the_rest_is_used(model, tmp_path, caplog):
    pairs = deltas(model)
    pairs["transformer_blocks.9.attn1.to_q"] = tuple(matrix.clone() for matrix in pairs[PATHS[0]])
    pairs["transformer_blocks.0.attn1.to_k"] = (torch.ones(RANK, 7), torch.ones(32, RANK))
    changed = add_third_party_lora(model, write(tmp_path / "a.safetensors", pairs))
    assert (
        "transformer_blocks.9.attn1.to_q is not there" in caplog.text
        and "the LoRA's is [32, 7]" in caplog.text
    )
    assert not torch.equal(weight_of(changed, PATHS[0]), weight_of(model, PATHS[0]))
    wrong = {name: pair for name, pair in pairs.items() if name not in PATHS}
    with pytest.raises(CheckpointError, match="2 of its parts do not fit.*CogVideoX-2B"):
        add_third_party_lora(model, write(tmp_path / "b.safetensors", wrong))


def test_what_is_no_lora_is_refused(model, tmp_path):
    save_file({"a.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"transformer.proj_out.lora_A.weight": torch.ones(2, 2)}, tmp_path / "b.safetensors")
    for name, text in (("a", "no LoRA matrices"), ("b", "only one of two"), ("c", "is not there")):
        with pytest.raises(CheckpointError, match=text):
            add_third_party_lora(model, tmp_path / f"{name}.safetensors")
