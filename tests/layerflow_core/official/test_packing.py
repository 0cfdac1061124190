"""Which parts stand beside the network of a converted file."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmarks.small_parts import build_small_vae
from benchmarks.synthetic import write_released
from layerflow_core.errors import MissingPartError
from layerflow_core.model.loading import load_model
from layerflow_core.official.conversion import (
    FP8,
    Conversion,
    Packing,
    convert_official,
)
from layerflow_core.weights.component_choice import TEXT_ENCODER, VAE

from .released import WIDTH, decode, encode, load


def test_a_converted_file_is_whole_by_itself(tokenizer, tmp_path):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    target = tmp_path / "converted" / "gen_rgba.safetensors"
    convert_official(path, target, Conversion(dtype=torch.float32))
    model = load_model(target)
    assert torch.equal(encode(model), encode(load(path, tokenizer)))
    assert torch.equal(decode(model.require_vae().vae), decode(build_small_vae()))
    with safe_open(target, "pt") as file:
        config = json.loads(file.metadata()["layerflow"])
    assert config["text_encoder"]["d_model"] == WIDTH and config["vae"]["latent_channels"] == 16


def test_a_text_encoder_in_8_bits(tokenizer, tmp_path):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    convert_official(path, tmp_path / "a.safetensors", Conversion(packing=Packing(text_dtype=FP8)))
    stored = {
        key: value.dtype
        for key, value in load_file(tmp_path / "a.safetensors").items()
        if key.startswith("text_encoder.")
    }
    block = "text_encoder.encoder.block.0.layer"
    assert stored[f"{block}.0.SelfAttention.q.weight"] == FP8
    assert stored[f"{block}.1.DenseReluDense.wo.weight"] == FP8
    for key in (
        f"{block}.0.SelfAttention.relative_attention_bias.weight",
        f"{block}.0.layer_norm.weight",
    ):
        assert stored[key] == torch.bfloat16
    assert stored["text_encoder.shared.weight"] == torch.bfloat16
    exact = encode(load(path, tokenizer))
    error = (encode(load_model(tmp_path / "a.safetensors")) - exact).norm() / exact.norm()
    assert 0 < float(error) < 0.1


def test_the_network_alone(tmp_path):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    convert_official(path, tmp_path / "a.safetensors", Conversion(packing=Packing(own=False)))
    model = load_model(tmp_path / "a.safetensors")
    assert model.text is None and model.vae is None
    assert {key.split(".")[0] for key in load_file(tmp_path / "a.safetensors")} == {
        "network",
        "lora",
    }


def test_a_conversion_without_tokenizer_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("layerflow_core.official.packing.find_tokenizer", lambda *places: None)
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    convert_official(path, tmp_path / "a.safetensors")
    assert "no tokenizer is packed" in caplog.text
    with pytest.raises(MissingPartError, match="expected T5's tokenizer.json"):
        load_model(tmp_path / "a.safetensors")


def test_parts_are_shared_by_all_checkpoints(tokenizer, tmp_path):
    models = tmp_path / "models"
    packing = Packing(shared=models)
    for variant in ("gen_rgba", "seg_rgba"):
        path = write_released(tmp_path / f"{variant}.pt", variant, WIDTH)
        target = models / "layerflow" / f"{variant}.safetensors"
        convert_official(path, target, Conversion(dtype=torch.float32, packing=packing))
        assert {key.split(".")[0] for key in load_file(target)} == {"network", "lora"}
    (text,) = (models / "text_encoders").iterdir()
    (vae,) = (models / "vae").iterdir()
    for kind, file in ((TEXT_ENCODER, text), (VAE, vae)):
        assert kind.wanted.search(file.name) and not kind.foreign.search(file.name), file.name
    shared = load(target, tokenizer, text_encoder=text, vae=vae)
    assert torch.equal(encode(shared), encode(load(path, tokenizer)))
    assert torch.equal(decode(shared.require_vae().vae), decode(build_small_vae()))


def test_another_part_gets_a_file_of_its_own(tmp_path):
    packing = Packing(shared=tmp_path / "models")
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    convert_official(path, tmp_path / "a.safetensors", Conversion(packing=packing))
    tensors = torch.load(path, weights_only=True)["module"]
    tensors["first_stage_model.decoder.conv_in.conv.bias"] += 1
    torch.save({"module": tensors}, path)
    convert_official(path, tmp_path / "b.safetensors", Conversion(packing=packing))
    assert len(list((tmp_path / "models" / "vae").iterdir())) == 2
    assert len(list((tmp_path / "models" / "text_encoders").iterdir())) == 1
