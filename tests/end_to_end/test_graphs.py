"""The four graphs on a real server, with real files."""

import shutil
import time
import urllib.request
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from .comfy_server import error_of
from .conftest import GRAPHS, load_graph

DOG = Path(__file__).parents[3] / "shared" / "data" / "davis" / "dog"
FOOTAGE = DOG / "bl"
TASKS = ("generate", "decompose", "foreground_to_background", "background_to_foreground")


def quickly(graph: dict, steps: int = 2) -> dict:
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = steps
    return graph


def test_every_task_has_its_graph():
    assert GRAPHS == sorted(
        (*TASKS, "collect_layer_clip", "edit_one_layer", "move_and_save_layers")
    )


def test_nodes_are_there_with_tooltips(server):
    info = server.get("/object_info")
    for name in (
        "LoadLayerFlow",
        "LayerPrompts",
        "LayerSampler",
        "DecomposeVideo",
        "ConditionLayer",
        "CompositeRGBA",
        "LayerFlowSampleClip",
        "CollectLayerClip",
        "LayerFlowLoRA",
        "LayerFlowSpeed",
        "DownloadLayerFlow",
        "PreviewLayers",
        "SaveLayers",
        "LoadLayers",
        "LayerResidual",
        "TransformLayer",
        "RefineAlpha",
        "JoinLayers",
        "SplitLayers",
        "MeasureLayers",
    ):
        assert info[name]["category"].startswith("LayerFlow/") and info[name]["output_tooltips"]


def test_pack_imports(server):
    """What must not be imported is in ``tests/nodes/test_nodes.py``, seconds in ``benchmarks/imports.py``."""
    lines = (server.base / "server.log").read_text().splitlines()
    (line,) = [
        text for text in lines if "custom_nodes/ComfyUI-LayerFlow" in text and "seconds" in text
    ]
    assert "IMPORT FAILED" not in line


@pytest.mark.parametrize("task", TASKS)
def test_graph_runs_and_saves(server, task):
    from PIL import Image

    from layerflow_core.video.files import read_video

    entry = server.run(quickly(load_graph(task)))
    assert entry["status"]["status_str"] == "success", error_of(entry)
    saved = {p.name.rsplit("_", 2)[0].removeprefix(f"{task}_"): p for p in server.saved(entry)}
    assert set(saved) == {"foreground", "background", "blended", "recomposed"}
    with Image.open(saved["foreground"]) as moving:
        assert (moving.size, moving.mode) == ((96, 64), "RGBA")
        # The writer joins frames that are alike; the running time tells that none is lost.
        lengths = []
        for i in range(moving.n_frames):
            moving.seek(i)
            moving.load()
            lengths.append(moving.info["duration"])
            assert moving.getchannel("A").getextrema() != (255, 255)
        assert sum(lengths) == 16 * 1000 / 8
    footage = read_video(saved["recomposed"])
    assert footage.colour.shape == (16, 3, 64, 96) and footage.fps == 8


def test_speed_runs_in_a_graph(server):
    graph = quickly(load_graph("generate"))
    graph["70"] = {
        "class_type": "LayerFlowSpeed",
        "inputs": {
            "model": ["1", 0],
            "attention": "auto",
            "compile": False,
            "step_cache": 0.9,
            "guidance_margin": 0.5,
        },
    }
    graph["3"]["inputs"]["model"] = ["70", 0]
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)


def test_a_real_video_file_comes_back_with_its_frames_size_and_rate(server):
    from layerflow_core.toy.world import draw_scene, render
    from layerflow_core.video.files import read_video
    from layerflow_core.video.streams.encodings import write_h264

    frames = (
        read_video(FOOTAGE).colour
        if FOOTAGE.is_dir()
        else torch.nn.functional.interpolate(render(draw_scene(3)).blended, (480, 720))
    )
    rate = Fraction(24000, 1001)
    write_h264(server.base / "input" / "dog.mp4", frames, rate)
    graph = quickly(load_graph("decompose"))
    graph["20"] = {"class_type": "LoadVideo", "inputs": {"file": "dog.mp4"}}
    graph["21"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["20", 0]}}
    graph["22"] = {
        "class_type": "LayerPrompts",
        "inputs": {"foreground": "a white dog", "background": "a green meadow", "blended": ""},
    }
    graph["3"]["inputs"] |= {"images": ["21", 0], "prompts": ["22", 0], "fps": ["21", 2]}
    del graph["2"]
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    (recomposed,) = [p for p in server.saved(entry) if p.suffix == ".mp4"]
    back = read_video(recomposed)
    assert back.colour.shape == frames.shape
    assert abs(back.fps - rate) < 0.001


def test_same_graph_same_pixels(server):
    """A second server-side run with a changed and then restored seed gives the same file contents."""
    graph = quickly(load_graph("generate"))
    contents = []
    for seed in (5, 6, 5):
        graph["3"]["inputs"]["seed"] = seed
        entry = server.run(graph)
        files = [p for p in server.saved(entry) if "foreground" in p.name]
        contents.append(files[0].read_bytes() if files else None)
    assert contents[0] == contents[2] != contents[1]


def test_cancel_stops_within_a_step(server):
    graph = quickly(load_graph("generate"), steps=200)
    graph["3"]["inputs"]["seed"] = int(time.time())
    prompt = server.queue(graph)
    time.sleep(12)
    started = time.time()
    urllib.request.urlopen(
        urllib.request.Request(
            server.url + "/interrupt", b"{}", {"Content-Type": "application/json"}
        ),
        timeout=30,
    ).read()
    entry = server.wait(prompt, 60)
    assert any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"]), entry[
        "status"
    ]
    assert time.time() - started < 20
    after = server.run(quickly(load_graph("generate")))
    assert after["status"]["status_str"] == "success"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"2": {"foreground": "", "background": "", "blended": ""}}, "no prompts"),
        (
            {"10": {"alpha_is": "alpha (1 = opaque)", "x": 0, "background": ["30", 0]}},
            "choose hold, loop or trim",
        ),
    ],
)
def test_bad_input_is_a_clear_error_in_the_graph(server, change, message):
    graph = quickly(load_graph("generate"))
    if "10" in change:
        graph["30"] = {
            "class_type": "ImageFromBatch",
            "inputs": {"image": ["3", 2], "batch_index": 0, "length": 5},
        }
    for node, inputs in change.items():
        graph[node]["inputs"] |= inputs
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "error"
    assert message in error_of(entry) and error_of(entry).startswith("LayerFlow: ")


def test_a_truncated_checkpoint_is_named(server):
    from layerflow_core.toy.embedded import EMBEDDED

    folder = server.base / "models" / "layerflow"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cut.safetensors").write_bytes(EMBEDDED.read_bytes()[:100_000])
    shutil.copy(EMBEDDED, folder / "whole.safetensors")
    graph = quickly(load_graph("generate"))
    for name, status in (("cut.safetensors", "error"), ("whole.safetensors", "success")):
        graph["1"]["inputs"]["checkpoint"] = name
        entry = server.run(graph)
        assert entry["status"]["status_str"] == status
        assert status == "success" or (
            error_of(entry).startswith("LayerFlow: ") and "the file is damaged" in error_of(entry)
        )


def test_unknown_choices_are_refused_before_running(server):
    graph = quickly(load_graph("generate"))
    graph["3"]["inputs"]["solver"] = "euler"
    answer = server.post("/prompt", {"prompt": graph})
    assert answer["http"] == 400 and "3" in answer["node_errors"]


def _real_layers(folder: Path) -> None:
    """The DAVIS dog as three video files; a scene of the procedural world where the footage is not there."""
    from layerflow_core.toy.world import draw_scene, render
    from layerflow_core.video.files import read_video
    from layerflow_core.video.streams.encodings import write_h264

    if DOG.is_dir():
        layers = {name: read_video(DOG / name).colour for name in ("bl", "bg", "mask")}
    else:
        true = render(draw_scene(3))
        layers = {
            "bl": true.blended,
            "bg": true.background,
            "mask": true.alpha.expand(-1, 3, -1, -1),
        }
    for name, frames in layers.items():
        write_h264(folder / f"dog_{name}.mp4", frames, 8)


def test_a_dataset_collected_from_real_footage_trains_a_step(server, tmp_path):
    """Coarse data as in the paper: footage, a mask and the inpainted background, from files through
    the graph to a training.
    """
    pytest.importorskip("accelerate"), pytest.importorskip("pydantic")
    from layerflow_core import cli
    from layerflow_core.toy.embedded import EMBEDDED

    _real_layers(server.base / "input")
    graph = load_graph("collect_layer_clip")
    for number, name in enumerate(("bl", "bg", "mask")):
        graph[f"3{number}"] = {"class_type": "LoadVideo", "inputs": {"file": f"dog_{name}.mp4"}}
        graph[f"4{number}"] = {
            "class_type": "GetVideoComponents",
            "inputs": {"video": [f"3{number}", 0]},
        }
    graph["50"] = {"class_type": "ImageToMask", "inputs": {"image": ["42", 0], "channel": "red"}}
    graph["2"]["inputs"] |= {
        "foreground": ["40", 0],
        "blended": ["40", 0],
        "background": ["41", 0],
        "alpha": ["50", 0],
        "fps": ["40", 2],
        "dataset": "dogs",
    }
    for _ in range(2):
        entry = server.run(graph)
        assert entry["status"]["status_str"] == "success", error_of(entry)
        graph["2"]["inputs"]["name"] = "dog"
    dataset = server.base / "output" / "dogs"
    assert sorted(p.name for p in dataset.iterdir()) == ["clip_00001", "dog_00001"]
    config = tmp_path / "base.toml"
    config.write_text(
        f'output = "run"\n[model]\ncheckpoint = "{EMBEDDED}"\n[stage]\nname = "base"\ntasks = "all"\n'
        f'[data.coarse]\nfolder = "{dataset}"\n[plan]\nsteps = 1\nprecision = "no"\n'
    )
    assert (
        cli.main(["train", str(config)]) == 0 and (tmp_path / "run" / "base.safetensors").exists()
    )


def test_a_broken_clip_is_refused_in_the_graph(server):
    graph = load_graph("collect_layer_clip")
    graph["60"] = {
        "class_type": "ImageFromBatch",
        "inputs": {"image": ["1", 2], "batch_index": 0, "length": 5},
    }
    graph["2"]["inputs"] |= {"background": ["60", 0], "dataset": "broken"}
    entry = server.run(graph)
    assert (
        entry["status"]["status_str"] == "error"
        and error_of(entry).startswith("LayerFlow: ")
        and "background 5 frames" in error_of(entry)
    )
    assert not (server.base / "output" / "broken").exists()
