import json
import math
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.small_parts import released_parts, write_t5, write_vae
from layerflow_core.official.verification import GOLDEN
from layerflow_core.toy.captions import tokenizer_json

TEXT_WIDTH = 24  # of the golden networks


@pytest.fixture
def models(host):
    """The host's empty models folder, and ComfyUI's own tokenizer."""
    tokenizer = host.models.parent / "comfyui" / "comfy" / "text_encoders" / "t5_tokenizer"
    tokenizer.mkdir(parents=True, exist_ok=True)
    (tokenizer / "tokenizer.json").write_text(tokenizer_json())
    yield host.models
    for folder in list(host.models.iterdir()):
        shutil.rmtree(folder)


@pytest.fixture
def files(pack):
    return sys.modules[
        pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"].__module__.replace(
            "load_layerflow", "model_files"
        )
    ]


def test_configured_model_paths_are_kept(files, host):
    known = sys.modules["folder_paths"].folder_names_and_paths
    known["layerflow"] = (["/mine"], set())
    files.register_model_folder()
    assert known["layerflow"][0][1:] == ["/mine"] and ".pt" in known["layerflow"][1]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file of these shapes in fp16 that takes no room on the disk."""
    header, end = {}, 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    return path


def t5_shapes(
    width: int = 4096,
    hidden: int = 10240,
    blocks: int = 24,
    heads: int = 64,
    vocabulary: int = 32128,
    gated: bool = True,
):
    """T5 v1.1 XXL's, if nothing else is said."""
    shapes = {"shared.weight": (vocabulary, width), "encoder.final_layer_norm.weight": (width,)}
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
    for i in range(blocks):
        first, second = (f"encoder.block.{i}.layer.{part}" for part in (0, 1))
        shapes |= {f"{first}.SelfAttention.{name}.weight": (heads * 64, width) for name in "qkv"}
        shapes |= {
            f"{first}.SelfAttention.o.weight": (width, heads * 64),
            f"{first}.layer_norm.weight": (width,),
        }
        inner = ("wi_0", "wi_1") if gated else ("wi",)
        shapes |= {f"{second}.DenseReluDense.{name}.weight": (hidden, width) for name in inner}
        shapes |= {
            f"{second}.DenseReluDense.wo.weight": (width, hidden),
            f"{second}.layer_norm.weight": (width,),
        }
    return shapes


OTHERS = {
    "the first T5 XXL": t5_shapes(hidden=65536, gated=False, blocks=2),
    "T5 v1.1 XL": t5_shapes(width=2048, hidden=5120, heads=32),
    "mT5": t5_shapes(vocabulary=250112),
    "half of it": t5_shapes(blocks=12),
    "CLIP": {"text_model.embeddings.token_embedding.weight": (49408, 768)},
}


def test_auto_takes_t5_v1_1_xxl_by_name_and_shape(files, models, caplog):
    for name in (
        "flan_t5_xxl_TE-only_FP16",
        "umt5_xxl_fp8",
        "google-flan/t5xxl",
        "t5xxl_flan_fp16",
        "T5-v1_1-XXL-heretic-fp16",
        "a/t5xxl_unchained_fp16",
        "t5xxl-distilled-fp16",
        "model",
        "t5xxl_fp8_e4m3fn",
        "t5xxl_fp16",
    ):
        write_sparse(models / "text_encoders" / f"{name}.safetensors", t5_shapes())
    touch(
        models / "text_encoders" / "clip_l.safetensors",
        models / "text_encoders" / "t5xxl_damaged.safetensors",
    )
    with caplog.at_level("INFO"):
        assert files.find_part(files.TEXT_ENCODER, "auto").name == "t5xxl_fp16.safetensors"
    assert "T5 text encoder: t5xxl_fp16.safetensors is taken" in caplog.text


@pytest.mark.parametrize("other", OTHERS)
def test_auto_takes_no_other_t5_whatever_its_name(other, files, models):
    write_sparse(models / "text_encoders" / "t5xxl_fp16.safetensors", OTHERS[other])
    with pytest.raises(Exception, match="no T5 text encoder.*t5xxl_fp16.safetensors"):
        files.find_part(files.TEXT_ENCODER, "auto")


def test_auto_asks_where_names_do_not_tell(files, models):
    for name in ("model.safetensors", "te/encoder.safetensors", "flan-t5-xxl.safetensors"):
        write_sparse(models / "text_encoders" / name, t5_shapes())
    with pytest.raises(
        Exception, match="these could be one: model.safetensors, te/encoder.safetensors. Choose one"
    ) as caught:
        files.find_part(files.TEXT_ENCODER, "auto")
    assert "flan" not in str(caught.value)
    assert files.find_part(files.TEXT_ENCODER, "model.safetensors").name == "model.safetensors"


def test_a_choice_of_another_model_is_warned_of(files, models, caplog):
    write_sparse(models / "text_encoders" / "flan_t5_xxl.safetensors", t5_shapes())
    files.find_part(files.TEXT_ENCODER, "flan_t5_xxl.safetensors")
    assert "may give wrong results: it is named like another model" in caplog.text


def test_auto_knows_vaes_by_name_and_shape(files, models):
    for name in (
        "cogvideox_5b_vae",
        "CogVideoX1.5_vae",
        "CogVideoX-1_5/vae",
        "cogvideox15_vae_bf16",
        "cogvideox_i2v_vae",
        "CogVideoX_VAE",
    ):
        write_vae(models / "vae" / f"{name}.safetensors")
    write_sparse(
        models / "vae" / "cogvideox_2b_vae.safetensors",
        {"patch_embed.proj.weight": (1920, 16, 2, 2)},
    )
    touch(models / "vae" / "ae.safetensors")
    assert files.find_part(files.VAE, "auto").name == "CogVideoX_VAE.safetensors"
    (models / "vae" / "CogVideoX_VAE.safetensors").unlink()
    with pytest.raises(
        Exception, match="no CogVideoX VAE.*cogvideox_5b_vae.safetensors: named like another model"
    ):
        files.find_part(files.VAE, "auto")


def write_config(folder: Path, **fields) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


VAE_FIELDS = {
    "_class_name": "AutoencoderKLCogVideoX",
    "block_out_channels": [32] * 4,
    "layers_per_block": 1,
    "latent_channels": 16,
}
T5_FIELDS = {
    "model_type": "t5",
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}


def write_diffusers(folder: Path, scaling_factor: float = 1.15258426, **more) -> Path:
    """A diffusers CogVideoX folder."""
    write_config(folder / "text_encoder", **T5_FIELDS)
    write_sparse(folder / "text_encoder" / "model.safetensors", t5_shapes())
    write_config(folder / "vae", **VAE_FIELDS, scaling_factor=scaling_factor, **more)
    write_vae(folder / "vae" / "diffusion_pytorch_model.safetensors")
    touch(folder / "tokenizer" / "spiece.model")
    return folder


def test_auto_tells_folders_apart_by_their_configs(files, models, caplog):
    write_diffusers(models / "CogVideo" / "another", scaling_factor=0.7)
    write_diffusers(models / "CogVideo" / "A-1.5")
    write_config(
        models / "diffusers" / "sd" / "text_encoder", model_type="clip_text_model", hidden_size=768
    )
    write_config(
        models / "diffusers" / "sd" / "vae",
        _class_name="AutoencoderKL",
        block_out_channels=[128, 256],
    )
    with pytest.raises(
        Exception, match="scaling_factor 0.7, expected 1.15258426 as CogVideoX-2B has"
    ):
        files.find_part(files.VAE, "auto")
    folder = write_diffusers(models / "diffusers" / "zz-CogVideoX-2b")
    assert files.find_part(files.VAE, "auto") == folder / "vae"
    assert (
        files.find_part(files.TEXT_ENCODER, "auto") == folder / "text_encoder"
    )  # they all hold the same
    files.find_part(files.VAE, "CogVideo/another")
    assert "may give wrong results: scaling_factor 0.7" in caplog.text


@pytest.fixture
def elsewhere(files, host, tmp_path):
    """Register roots as ComfyUI does for extra_model_paths.yaml."""
    known = sys.modules["folder_paths"].folder_names_and_paths
    before = dict(known)

    def add(**roots):
        for name, paths in roots.items():
            known[name] = (
                [*known.get(name, ([], set()))[0], *(str(tmp_path / path) for path in paths)],
                set(),
            )
        files.register_model_folder()
        return tmp_path

    yield add
    known.clear()
    known.update(before)


def test_every_root_is_looked_at(files, models, elsewhere, pack):
    root = elsewhere(
        CogVideo=["cog", "cog2", "whole"],
        diffusers=["d"],
        vae=["v"],
        text_encoders=["t"],
        layerflow=["lf"],
        loras=["lo"],
    )
    folder = write_diffusers(root / "cog2" / "CogVideoX-2b")
    write_diffusers(root / "whole")
    write_diffusers(root / "d" / "CogVideoX-2b")
    write_vae(root / "v" / "sub" / "cogvideox_vae.safetensors")
    touch(root / "lf" / "gen_rgba.pt", root / "lo" / "style.safetensors")
    labels = ["CogVideo/CogVideoX-2b", "CogVideo/whole", "diffusers/CogVideoX-2b"]
    assert files.list_parts(files.TEXT_ENCODER) == labels
    assert files.list_parts(files.VAE) == [*labels, "sub/cogvideox_vae.safetensors"]
    assert files.find_part(files.VAE, "auto") == folder / "vae"
    assert files.find_part(files.VAE, "CogVideo/whole") == root / "whole" / "vae"
    assert (
        files.find_part(files.VAE, "sub/cogvideox_vae.safetensors")
        == root / "v" / "sub" / "cogvideox_vae.safetensors"
    )
    assert files.find_file("layerflow", "gen_rgba.pt") == root / "lf" / "gen_rgba.pt"
    assert (
        "gen_rgba.pt"
        in pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"].INPUT_TYPES()["required"]["checkpoint"][0]
    )
    assert (
        "style.safetensors"
        in pack.NODE_CLASS_MAPPINGS["LayerFlowLoRA"].INPUT_TYPES()["required"]["content"][0]
    )


@pytest.mark.parametrize(
    "name",
    [
        "../other/secret.safetensors",
        "/etc/passwd",
        "",
        "a\0b.safetensors",
        "x" * 5000,
        "none.safetensors",
    ],
)
def test_a_name_out_of_a_graph_is_no_path(name, pack, files, models):
    (models / "loras").mkdir()
    (models / "layerflow").mkdir()
    touch(models / "other" / "secret.safetensors")
    for folder in ("loras", "layerflow"):
        with pytest.raises(Exception, match=f"is not in models/{folder}"):
            files.find_file(folder, name)
    with pytest.raises(Exception, match="is not in models/layerflow"):
        pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]().load(name, "fp32", 1.0, 0.0)
    with pytest.raises(Exception, match="is not in models/vae"):
        files.find_part(files.VAE, name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_not_waited_for(files, models, pack):
    (models / "text_encoders").mkdir()
    (models / "layerflow").mkdir()
    os.mkfifo(models / "layerflow" / "a.safetensors")
    with pytest.raises(Exception, match="not in models|not a regular file"):
        pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]().load("a.safetensors", "fp32", 1.0, 0.0)


def test_what_is_taken_is_part_of_what_has_changed(files, models, pack):
    node = pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]
    touch(models / "layerflow" / "a.safetensors", models / "vae" / "cogvideox_vae.safetensors")
    before = node.IS_CHANGED(checkpoint="a.safetensors")
    assert node.IS_CHANGED(checkpoint="a.safetensors") == before
    (models / "vae" / "cogvideox_vae.safetensors").write_bytes(b"new")
    assert node.IS_CHANGED(checkpoint="a.safetensors") != before


@pytest.mark.parametrize(
    "name",
    [
        "t5xxl_fp16.safetensors",
        "google_t5-v1_1-xxl_encoderonly.safetensors",
        "T5_XXL.safetensors",
        "sub/t5-xxl-enc.safetensors",
    ],
)
def test_names_of_t5(name, files):
    assert files.TEXT_ENCODER.wanted.search(name)


def test_a_diffusers_folder_goes_first_and_brings_its_tokenizer(files, models):
    folder = write_diffusers(models / "CogVideo" / "CogVideoX-2b")
    write_vae(models / "vae" / "cogvideox.safetensors")
    assert files.list_parts(files.VAE) == ["CogVideo/CogVideoX-2b", "cogvideox.safetensors"]
    assert (
        files.find_part(files.VAE, "auto")
        == files.find_part(files.VAE, "CogVideo/CogVideoX-2b")
        == folder / "vae"
    )
    assert files.find_tokenizer(files.find_part(files.TEXT_ENCODER, "auto")) == folder / "tokenizer"


def test_what_is_missing_is_said_with_its_place(pack, models):
    target = models / "layerflow" / "gen_rgba.pt"
    target.parent.mkdir()
    torch.save({"module": load_file(GOLDEN / "gen_rgba.ckpt.safetensors")}, target)
    node = pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]()
    with pytest.raises(Exception, match="no T5 text encoder.*models/text_encoders.*t5xxl"):
        node.load("gen_rgba.pt", "fp32", 1.0, 0.0)
    write_t5(models / "text_encoders" / "t5xxl.safetensors", TEXT_WIDTH)
    with pytest.raises(Exception, match="no CogVideoX VAE.*models/vae.*cogvideox_vae.safetensors"):
        node.load("gen_rgba.pt", "fp32", 1.0, 0.0)


@pytest.mark.parametrize(
    "place", ["multi-layer-generation-rgba/1000/mp_rank_00_model_states.pt", "gen_rgba.safetensors"]
)
def test_an_official_file_is_listed_and_runs_as_it_was_downloaded(place, pack, models):
    target = models / "layerflow" / place
    target.parent.mkdir(parents=True)
    if target.suffix == ".pt":
        torch.save({"module": load_file(GOLDEN / "gen_rgba.ckpt.safetensors")}, target)
    else:
        shutil.copy(GOLDEN / "gen_rgba.ckpt.safetensors", target)
    write_t5(models / "text_encoders" / "t5xxl.safetensors", TEXT_WIDTH)
    write_vae(models / "vae" / "cogvideox_vae.safetensors")
    node = pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]
    assert place in node.INPUT_TYPES()["required"]["checkpoint"][0]
    (model,) = node().load(place, "fp32", 1.0, 0.0)
    recorded = load_file(GOLDEN / "gen_rgba.safetensors")
    with torch.inference_mode():
        v = model.network(
            recorded["probe.599.x"], recorded["in.context"].flatten(0, 1)[None], torch.tensor([599])
        )
    assert (v - recorded["probe.599.v_cond"]).abs().max() < 1e-4
    assert model.frame_size == (48, 64) and model.require_text().width == TEXT_WIDTH


def test_a_released_file_needs_no_other_part(pack, models):
    """Empty folders beside it; the tokenizer is ComfyUI's own."""
    target = models / "layerflow" / "gen_rgba.pt"
    target.parent.mkdir()
    network = load_file(GOLDEN / "gen_rgba.ckpt.safetensors")
    torch.save({"module": network | released_parts(TEXT_WIDTH)}, target)
    (model,) = pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]().load("gen_rgba.pt", "fp32", 1.0, 0.0)
    assert model.frame_size == (48, 64)
    own = model.require_text().encode("a dog")
    write_t5(models / "text_encoders" / "t5xxl.safetensors", TEXT_WIDTH)
    (named,) = pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"]().load(
        "gen_rgba.pt", "fp32", 1.0, 0.0, text_encoder="t5xxl.safetensors"
    )
    assert torch.allclose(named.require_text().encode("a dog"), own, atol=1e-4)


def test_a_t5_in_gguf_is_listed_and_taken_where_nothing_better_is(files, models):
    for place in ("unet/t5-v1_1-xxl-encoder-Q5_K_M.gguf", "text_encoders/a/t5xxl-Q8_0.gguf"):
        path = models / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")
    (models / "unet" / "flux1-dev-Q4_0.gguf").write_bytes(b"GGUF")
    listed = files.list_parts(files.TEXT_ENCODER)
    assert {"t5-v1_1-xxl-encoder-Q5_K_M.gguf", "a/t5xxl-Q8_0.gguf"} <= set(listed)
    assert "flux1-dev-Q4_0.gguf" not in listed and files.list_parts(files.VAE) == []
    with pytest.raises(Exception, match="a GGUF file"):
        files.find_part(files.TEXT_ENCODER, "auto")
    assert files.find_part(files.TEXT_ENCODER, "a/t5xxl-Q8_0.gguf").name == "t5xxl-Q8_0.gguf"
    with pytest.raises(Exception, match="not in models/text_encoders"):
        files.find_part(files.TEXT_ENCODER, "../unet/t5-v1_1-xxl-encoder-Q5_K_M.gguf")
