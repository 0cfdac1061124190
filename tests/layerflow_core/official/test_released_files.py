"""Files as they were very probably released: network, text encoder and VAE in one, float32."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmarks.small_parts import build_small_vae, write_t5, write_vae
from benchmarks.synthetic import write_released
from layerflow_core.errors import MissingPartError
from layerflow_core.inference import LoadOptions, load_for_inference
from layerflow_core.layout import OFFICIAL_VARIANTS
from layerflow_core.model.loading import load_model
from layerflow_core.official.conversion import (
    FP8,
    Conversion,
    Packing,
    convert_official,
    read_any,
)
from layerflow_core.official.variants import released_folder
from layerflow_core.toy.captions import tokenizer_json
from layerflow_core.weights.components import Components, find_tokenizer

CPU = torch.device("cpu")
WIDTH = 32
EXACT = LoadOptions("fp32")
PROMPT = "a red star"


@pytest.fixture
def tokenizer(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


def load(path, tokenizer, **named):
    return load_for_inference(
        path, CPU, EXACT, lambda config: Components(tokenizer=tokenizer, **named)
    )


def encode(model):
    with torch.inference_mode():
        return model.require_text().encode(PROMPT)


def decode(vae):
    latents = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return vae.decode(latents).sample


@pytest.mark.parametrize("variant", OFFICIAL_VARIANTS)
def test_a_released_file_or_folder_needs_nothing_else(variant, tokenizer, tmp_path):
    """The same network, text encodings and frames as from parts kept apart."""
    folder = tmp_path / released_folder(variant)
    path = write_released(folder / "1000" / "mp_rank_00_model_states.pt", variant, WIDTH)
    whole = load(folder, tokenizer)
    single = path.rename(tmp_path / f"{variant}.pt")
    named = Components(
        write_t5(tmp_path / "t5.safetensors", WIDTH), vae=write_vae(tmp_path / "vae.safetensors")
    )
    apart = load(single, tokenizer, text_encoder=named.text_encoder, vae=named.vae)
    assert whole.config == apart.config and whole.config.layout.name == variant
    assert torch.equal(encode(whole), encode(apart))
    assert torch.allclose(decode(whole.require_vae().vae), decode(build_small_vae()), atol=1e-4)
    ours = whole.network.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in apart.network.state_dict().items())
    assert whole.frame_size == (96, 144)


def test_a_named_part_goes_before_the_files_own(tokenizer, tmp_path):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    other = write_vae(tmp_path / "vae.safetensors", layers=2)
    model = load(path, tokenizer, vae=other)
    assert model.require_vae().vae.config.layers_per_block == 2
    assert torch.equal(encode(model), encode(load(path, tokenizer)))


def test_without_a_tokenizer_one_is_asked_for(tmp_path):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    with pytest.raises(MissingPartError, match="expected T5's tokenizer.json"):
        load(path, None)


def test_an_incomplete_part_is_left_out_and_said(tokenizer, tmp_path, caplog):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    tensors = torch.load(path, weights_only=True)["module"]
    lost = "first_stage_model.decoder.conv_in.conv.weight"
    torch.save({"module": {k: v for k, v in tensors.items() if k != lost}}, path)
    checkpoint = read_any(path)
    assert checkpoint.config.vae is None and checkpoint.config.text_encoder
    assert "the vae in the file is not taken" in caplog.text
    assert load(path, tokenizer, vae=write_vae(tmp_path / "vae.safetensors")).vae is not None


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
    monkeypatch.setattr("layerflow_core.official.conversion.find_tokenizer", lambda *places: None)
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    convert_official(path, tmp_path / "a.safetensors")
    assert "no tokenizer is packed" in caplog.text
    with pytest.raises(MissingPartError, match="expected T5's tokenizer.json"):
        load_model(tmp_path / "a.safetensors")


def test_a_tokenizer_is_found_beside_a_file_and_in_comfyui(tmp_path):
    model = tmp_path / "ComfyUI" / "models" / "layerflow" / "gen_rgba.pt"
    own = tmp_path / "ComfyUI" / "comfy" / "text_encoders" / "t5_tokenizer"
    beside = model.parent / "tokenizer"
    assert find_tokenizer(model) is None
    for folder in (own, beside):
        folder.mkdir(parents=True)
        assert find_tokenizer(model) in (None, own), "an empty folder is none"
        (folder / "tokenizer.json").write_text(tokenizer_json())
        assert find_tokenizer(model) == folder


def test_what_is_put_together_is_there_at_half_width_only(tmp_path):
    path = write_released(tmp_path / "gen_rgba.pt", text_width=WIDTH)
    checkpoint = read_any(path, torch.bfloat16)
    network = {v.dtype for k, v in checkpoint.tensors.items() if k.startswith("network.")}
    assert network == {torch.bfloat16}
    parts = {v.dtype for k, v in checkpoint.tensors.items() if k.startswith(("vae.", "text_enc"))}
    assert parts == {torch.float32}, "mapped, as they lie in the file"
