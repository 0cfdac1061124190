import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.small_parts import write_t5, write_vae
from layerflow_core.toy.captions import tokenizer_json

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
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
    return sys.modules[pack.NODE_CLASS_MAPPINGS["LoadLayerFlow"].__module__.replace("load_layerflow", "model_files")]


def test_configured_model_paths_are_kept(files, host):
    known = sys.modules["folder_paths"].folder_names_and_paths
    known["layerflow"] = (["/mine"], set())
    files.register_model_folder()
    assert known["layerflow"][0][1:] == ["/mine"] and ".pt" in known["layerflow"][1]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_auto_knows_files_by_their_names(files, models):
    touch(*(models / "text_encoders" / name for name in ("clip_l.safetensors", "umt5_xxl_fp8.safetensors", "t5xxl_fp8_e4m3fn.safetensors")))
    touch(*(models / "vae" / name for name in ("ae.safetensors", "cogvideox_5b_vae.safetensors", "CogVideoX_VAE.safetensors")))
    assert files.find_part(files.TEXT_ENCODER, "auto").name == "t5xxl_fp8_e4m3fn.safetensors"
    assert files.find_part(files.VAE, "auto").name == "CogVideoX_VAE.safetensors"
    assert files.find_part(files.VAE, "ae.safetensors").name == "ae.safetensors"


@pytest.mark.parametrize("name", ["t5xxl_fp16.safetensors", "google_t5-v1_1-xxl_encoderonly.safetensors", "T5_XXL.safetensors", "sub/t5-xxl-enc.safetensors"])
def test_names_of_t5(name, files):
    assert files.TEXT_ENCODER.wanted.search(name)


def test_a_diffusers_folder_goes_first_and_brings_its_tokenizer(files, models):
    folder = models / "CogVideo" / "CogVideoX-2b"
    touch(folder / "text_encoder" / "config.json", folder / "vae" / "config.json", folder / "tokenizer" / "spiece.model", models / "vae" / "cogvideox.safetensors")
    assert files.list_parts(files.VAE) == ["CogVideo/CogVideoX-2b", "cogvideox.safetensors"]
    assert files.find_part(files.VAE, "auto") == files.find_part(files.VAE, "CogVideo/CogVideoX-2b") == folder / "vae"
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


@pytest.mark.parametrize("place", ["multi-layer-generation-rgba/1000/mp_rank_00_model_states.pt", "gen_rgba.safetensors"])
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
        v = model.network(recorded["probe.599.x"], recorded["in.context"].flatten(0, 1)[None], torch.tensor([599]))
    assert (v - recorded["probe.599.v_cond"]).abs().max() < 1e-4
    assert model.frame_size == (48, 64) and model.require_text().width == TEXT_WIDTH
