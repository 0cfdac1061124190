"""Files as they were very probably released: network, text encoder and VAE in one, float32."""

import pytest
import torch

from benchmarks.small_parts import build_small_vae, write_t5, write_vae
from benchmarks.synthetic import write_released
from layerflow_core.errors import MissingPartError
from layerflow_core.layout import OFFICIAL_VARIANTS
from layerflow_core.official.conversion import (
    read_any,
)
from layerflow_core.official.variants import released_folder
from layerflow_core.toy.captions import tokenizer_json
from layerflow_core.weights.components import Components, find_tokenizer

from .released import WIDTH, decode, encode, load


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
