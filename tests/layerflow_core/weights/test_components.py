import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.small_parts import original_keys
from layerflow_core.errors import CheckpointError, MissingPartError
from layerflow_core.model.text import build_t5, untie
from layerflow_core.model.vae import build_vae
from layerflow_core.official.verification import GOLDEN
from layerflow_core.toy.captions import tokenizer_json
from layerflow_core.weights.checkpoint import load_strictly
from layerflow_core.weights.components import (
    Components,
    read_text_encoder,
    read_tokenizer,
    read_vae,
)

T5 = {
    "vocab_size": 90,
    "d_model": 24,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "feed_forward_proj": "gated-gelu",
}
LEVELS = (32, 32, 64)
VAE = {
    "block_out_channels": LEVELS,
    "layers_per_block": 2,
    "latent_channels": 16,
    "norm_num_groups": 32,
    "scaling_factor": 1.15258426,
    "down_block_types": ("CogVideoXDownBlock3D",) * 3,
    "up_block_types": ("CogVideoXUpBlock3D",) * 3,
}


@pytest.fixture
def t5():
    torch.manual_seed(0)
    return build_t5(T5)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return build_vae(VAE)


def encode(part, ids=torch.arange(12)[None]):
    module = build_t5(part.config)
    load_strictly(
        module,
        untie(part.tensors.read(part.tensors.specs), set(module.state_dict())),
        "text encoder",
    )
    with torch.inference_mode():
        return module.float()(input_ids=ids).last_hidden_state


def single_file(t5) -> dict[str, torch.Tensor]:
    return {
        key: value.clone() for key, value in t5.state_dict().items() if "embed_tokens" not in key
    }


def scale(tensors, end: str) -> dict[str, torch.Tensor]:
    """Matrices as fp8 with one scale each, as ComfyUI's files have them."""
    scaled = dict(tensors)
    for key in [
        k
        for k in tensors
        if k.endswith(".weight") and "layer." in k and "norm" not in k and "bias" not in k
    ]:
        by = tensors[key].abs().max() / 448
        scaled[key] = (tensors[key] / by).to(torch.float8_e4m3fn)
        scaled[key.removesuffix("weight") + end] = by
        if end == "weight_scale":
            mark = json.dumps({"format": "float8_e4m3fn"}).encode()
            scaled[key.removesuffix("weight") + "comfy_quant"] = torch.tensor(
                list(mark), dtype=torch.uint8
            )
        else:
            scaled[key.removesuffix("weight") + "scale_input"] = torch.ones(())
    return (
        scaled
        if end == "weight_scale"
        else {**scaled, "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    )


def expected(t5):
    with torch.inference_mode():
        return t5(input_ids=torch.arange(12)[None]).last_hidden_state


def test_t5_in_a_folder_of_shards(t5, tmp_path):
    t5.save_pretrained(tmp_path / "text_encoder", max_shard_size="5KB")
    assert len(list((tmp_path / "text_encoder").glob("*.safetensors"))) > 1
    assert torch.allclose(
        encode(read_text_encoder(tmp_path / "text_encoder")), expected(t5), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["gated-gelu", "relu"])
def test_t5_as_a_single_file_tells_its_dimensions(kind, tmp_path):
    t5 = build_t5({**T5, "feed_forward_proj": kind})
    save_file(single_file(t5), tmp_path / "t5.safetensors")
    part = read_text_encoder(tmp_path / "t5.safetensors")
    assert all(
        part.config[key] == value for key, value in {**T5, "feed_forward_proj": kind}.items()
    )
    assert torch.allclose(encode(part), expected(t5), atol=1e-6)


@pytest.mark.parametrize("end", ["scale_weight", "weight_scale"])
def test_scaled_fp8_is_multiplied_back(end, t5, tmp_path):
    tensors = scale(single_file(t5), end)
    save_file(tensors, tmp_path / "t5.safetensors")
    part = read_text_encoder(tmp_path / "t5.safetensors")
    key = "encoder.block.1.layer.0.SelfAttention.o.weight"
    by = tensors[key.removesuffix("weight") + end]
    assert torch.equal(part.tensors.read([key])[key], (tensors[key].float() * by).bfloat16())
    error, size = (encode(part) - expected(t5)).std(), expected(t5).std()
    assert error < 0.15 * size
    unscaled = {k: v for k, v in tensors.items() if "scale" not in k and "quant" not in k}
    save_file(unscaled, tmp_path / "plain.safetensors")
    assert (
        encode(read_text_encoder(tmp_path / "plain.safetensors")) - expected(t5)
    ).std() > 3 * error  # the scales matter


def test_plain_fp8(t5, tmp_path):
    save_file(
        {k: v.to(torch.float8_e4m3fn) for k, v in single_file(t5).items()},
        tmp_path / "t5.safetensors",
    )
    assert (
        encode(read_text_encoder(tmp_path / "t5.safetensors")) - expected(t5)
    ).std() < 0.3 * expected(t5).std()


def test_what_is_no_text_encoder_is_refused(t5, vae, tmp_path):
    tensors = scale(single_file(t5), "weight_scale")
    mark = "encoder.block.0.layer.0.SelfAttention.q.comfy_quant"
    save_file(
        {**tensors, mark: torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)},
        tmp_path / "nvfp4.safetensors",
    )
    key = "encoder.block.0.layer.0.SelfAttention.q.weight_scale"
    save_file({**tensors, key: torch.ones(2)}, tmp_path / "rows.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if k != key.replace("weight_scale", "weight")},
        tmp_path / "half.safetensors",
    )
    save_file(vae.state_dict(), tmp_path / "vae.safetensors")
    (tmp_path / "empty").mkdir()
    for name, text in {
        "nvfp4.safetensors": "is nvfp4",
        "rows.safetensors": "one scale",
        "half.safetensors": "a scale for",
        "vae.safetensors": "not a T5 encoder",
        "empty": "holds no .safetensors",
        "none.safetensors": "is not there",
    }.items():
        with pytest.raises(CheckpointError, match=text):
            read_text_encoder(tmp_path / name)


def test_original_names_are_the_original_ones(vae):
    """Some of them, as the released code spells them."""
    keys = original_keys(vae.state_dict())
    for key in (
        "encoder.down.1.block.0.norm1.weight",
        "encoder.down.2.block.0.nin_shortcut.weight",
        "encoder.down.0.downsample.conv.weight",
        "encoder.mid.block_1.conv1.conv.weight",
        "decoder.mid.block_2.norm1.conv_y.conv.weight",
        "decoder.up.0.block.0.norm1.norm_layer.weight",
        "decoder.up.2.upsample.conv.weight",
        "decoder.conv_out.conv.bias",
    ):
        assert key in keys


@pytest.mark.parametrize(
    "place", ["diffusers folder", "diffusers file", "original pickle", "inside a training file"]
)
def test_a_vae_from_everywhere(place, vae, tmp_path):
    if place == "diffusers folder":
        path = tmp_path / "vae"
        vae.save_pretrained(path)
    elif place == "original pickle":
        path = tmp_path / "3d-vae.pt"
        torch.save(
            {
                "state_dict": {
                    **original_keys(vae.state_dict()),
                    "loss.discriminator.encoder.x": torch.ones(1),
                }
            },
            path,
        )
    else:
        path = tmp_path / "vae.safetensors"
        inside = place.startswith("inside")
        tensors = original_keys(vae.state_dict()) if inside else vae.state_dict()
        save_file({f"first_stage_model.{k}" if inside else k: v for k, v in tensors.items()}, path)
    part = read_vae(path)
    built = build_vae(part.config)
    load_strictly(built, part.tensors.read(part.tensors.specs), "VAE")
    assert built.config.scaling_factor == vae.config.scaling_factor
    z = torch.randn(1, 16, 4, 4, 6)
    with torch.inference_mode():
        assert torch.equal(built.decode(z).sample, vae.decode(z).sample)


def test_what_is_no_vae_is_refused(t5, tmp_path):
    save_file(single_file(t5), tmp_path / "t5.safetensors")
    with pytest.raises(CheckpointError, match="not a CogVideoX VAE"):
        read_vae(tmp_path / "t5.safetensors")


def test_a_tokenizer_is_a_file_or_a_folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer_json())
    assert (
        read_tokenizer(tmp_path)
        == read_tokenizer(tmp_path / "tokenizer.json")
        == tokenizer_json().encode()
    )
    for path, text in ((None, "without tokenizer"), (tmp_path / "none", "no spiece.model")):
        with pytest.raises(MissingPartError, match=text):
            read_tokenizer(path)


def test_a_base_folder_names_its_parts(tmp_path):
    for part in ("text_encoder", "tokenizer", "vae"):
        (tmp_path / part).mkdir()
    assert Components.in_folder(tmp_path) == Components(
        tmp_path / "text_encoder", tmp_path / "tokenizer", tmp_path / "vae"
    )
    shutil.rmtree(tmp_path / "vae")
    with pytest.raises(MissingPartError, match="no vae folder"):
        Components.in_folder(tmp_path)


def test_parts_go_into_a_converted_file_and_onto_a_model(t5, vae, tmp_path):

    from layerflow_core.model.loading import load_model
    from layerflow_core.official.conversion import Conversion, Packing, convert_official
    from layerflow_core.toy.embedded import EMBEDDED

    golden = GOLDEN / "gen_rgba.ckpt.safetensors"
    save_file(single_file(t5), tmp_path / "t5.safetensors")
    save_file(vae.state_dict(), tmp_path / "vae.safetensors")
    (tmp_path / "tokenizer.json").write_text(tokenizer_json())
    base = Components(
        tmp_path / "t5.safetensors", tmp_path / "tokenizer.json", tmp_path / "vae.safetensors"
    )
    convert_official(golden, tmp_path / "bare.safetensors", Conversion(dtype=torch.float32))
    convert_official(
        golden,
        tmp_path / "packed.safetensors",
        Conversion(dtype=torch.float32, packing=Packing(base)),
    )
    assert any(key.startswith("vae.decoder") for key in load_file(tmp_path / "packed.safetensors"))
    packed, beside = (
        load_model(tmp_path / "packed.safetensors"),
        load_model(tmp_path / "bare.safetensors", base=base),
    )
    prompt = "a red star"
    assert torch.equal(packed.require_text().encode(prompt), beside.require_text().encode(prompt))
    assert packed.config == beside.config and packed.frame_size == beside.frame_size
    with pytest.raises(MissingPartError):
        load_model(tmp_path / "bare.safetensors").require_vae()
    for name, wrong in (
        ("width 24, the network expects 64", Components(base.text_encoder, base.tokenizer)),
        ("16 latent channels, the network expects 8", Components(vae=base.vae)),
    ):
        with pytest.raises(CheckpointError, match=name):
            load_model(EMBEDDED, base=wrong)
