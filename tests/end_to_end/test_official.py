"""Official checkpoints of tiny width, as they are downloaded and converted, with T5 and VAE as
single files: all four graphs.
"""

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.small_parts import released_parts, write_t5, write_vae
from layerflow_core.official.conversion import Conversion, convert_official
from layerflow_core.official.verification import GOLDEN

from .comfy_server import error_of
from .conftest import load_graph
from .test_graphs import quickly

TEXT_WIDTH = 24  # of the golden networks
# The graph, its checkpoint, and where that lies in models/layerflow: converted ones, a released folder, a plain file.
CASES = {
    "generate": ("gen_rgba", "gen_rgba_converted.safetensors"),
    "decompose": ("seg_rgb", "multi-layer-decomposition-rgb/1000/mp_rank_00_model_states.pt"),
    "foreground_to_background": ("fg2bg_rgba", "fg2bg_rgba.pt"),
    "background_to_foreground": ("fg2bg_rgba", "bg2fg_rgba_converted.safetensors"),
}


@pytest.fixture
def installed(server):
    models = server.base / "models"
    write_t5(models / "text_encoders" / "t5xxl_tiny.safetensors", TEXT_WIDTH)
    write_vae(models / "vae" / "cogvideox_tiny.safetensors")
    for task, (variant, name) in CASES.items():
        source, target = GOLDEN / f"{variant}.ckpt.safetensors", models / "layerflow" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".pt":
            torch.save({"module": load_file(source), "iteration": 1000}, target)
        else:  # the two conditioned tasks have the same shapes, so one file's tensors stand for both
            convert_official(
                source,
                target,
                Conversion(variant="bg2fg_rgba" if task.startswith("background") else variant),
            )
    return models


@pytest.mark.parametrize("task", CASES)
def test_an_official_checkpoint_runs_its_graph(server, installed, task):
    name = CASES[task][1]
    info = server.get("/object_info/LoadLayerFlow")["LoadLayerFlow"]["input"]
    assert name in info["required"]["checkpoint"][0]
    assert (
        "t5xxl_tiny.safetensors" in info["optional"]["text_encoder"][0]
        and "cogvideox_tiny.safetensors" in info["optional"]["vae"][0]
    )
    graph = quickly(load_graph(task))
    graph["1"]["inputs"] |= {
        "checkpoint": name,
        "text_encoder": "auto",
        "vae": "cogvideox_tiny.safetensors",
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    assert len(server.saved(entry)) == 4


def test_a_missing_part_is_named_with_its_place(server, installed):
    (installed / "text_encoders" / "t5xxl_tiny.safetensors").unlink()
    graph = quickly(load_graph("generate"))
    graph["1"]["inputs"] |= {"checkpoint": CASES["generate"][1], "precision": "fp16"}
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "error" and "models/text_encoders" in error_of(entry)


def test_a_released_file_runs_with_empty_folders_beside_it(server):
    """Network, text encoder and VAE in one file, float32; the tokenizer is ComfyUI's own."""
    target = server.base / "models" / "layerflow" / "gen_rgba_released.pt"
    target.parent.mkdir(parents=True, exist_ok=True)
    network = load_file(GOLDEN / "gen_rgba.ckpt.safetensors")
    torch.save({"module": network | released_parts(TEXT_WIDTH), "iteration": 1000}, target)
    for folder in ("text_encoders", "vae"):
        for path in (server.base / "models" / folder).glob("*.safetensors"):
            path.unlink()
    graph = quickly(load_graph("generate"))
    graph["1"]["inputs"] |= {"checkpoint": target.name, "text_encoder": "auto", "vae": "auto"}
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    assert len(server.saved(entry)) == 4
