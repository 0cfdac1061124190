"""Layers on a real server: saved, loaded, edited, and dropped back on the canvas."""

import base64
import json

import pytest
import torch

from .browser import chromium, open_page
from .comfy_server import error_of
from .conftest import load_graph
from .test_graphs import quickly

FORMATS = (
    "ProRes 4444 (.mov)",
    "VP9 (.webm)",
    "PNG 8 bit",
    "PNG 16 bit",
    "animated WebP",
    "animated PNG",
    "OpenEXR (all layers)",
    "PSD (one frame, all layers)",
)
MIME = {
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".png": "image/png",
}


def save_graph(form: str, prefix: str, **changes) -> dict:
    return {
        "1": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 8}},
        "2": {"class_type": "LayerResidual", "inputs": {"layers": ["1", 8]}},
        "3": {
            "class_type": "SaveLayers",
            "inputs": {
                "layers": ["2", 0],
                "filename_prefix": prefix,
                "format": form,
                "opaque": "PNG 16 bit",
                "alpha": "straight",
                "fps": 23.976,
                "frame": 0,
                **changes,
            },
        },
    }


def load_graph_of(source: str) -> dict:
    numbers = {"start": 0, "count": 0, "every": 1, "width": 0, "height": 0}
    return {
        "1": {
            "class_type": "LoadLayers",
            "inputs": {"source": source, "matte": "none", "alpha": "straight", **numbers},
        },
        "2": {"class_type": "PreviewLayers", "inputs": {"layers": ["1", 7], "longest_side": 720}},
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 4], "filename_prefix": "again"},
        },
    }


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_saved_and_loaded(server, form):
    from layerflow_core.layer_files.loading import load_layers

    prefix = f"sets/{FORMATS.index(form)}"
    entry = server.run(save_graph(form, prefix))
    assert entry["status"]["status_str"] == "success", error_of(entry)
    folder = server.base / "output" / f"{prefix}_00001"
    record = json.loads((folder / "layers.json").read_text())
    assert record["fps"] == "24000/1001" and record["prompt"]["3"]["class_type"] == "SaveLayers"
    entry = server.run(load_graph_of(f"{prefix}_00001 [output]"))
    assert entry["status"]["status_str"] == "success", error_of(entry)
    assert load_layers(folder).foreground.shape[0] == (1 if form.startswith("PSD") else 16)


def test_one_layer_is_edited_and_the_other_comes_through(server):
    """Paper figure 5: the locked background has the same bits in both runs' layers."""
    graph = quickly(load_graph("edit_one_layer"))
    for number, source in (("90", ["3", 2]), ("91", ["6", 2])):
        graph[number] = {
            "class_type": "JoinLayers",
            "inputs": {
                "name": "x",
                "alpha_is": "alpha (1 = opaque)",
                "fps": 8.0,
                "foreground": source,
            },
        }
        graph[f"{number}0"] = {
            "class_type": "SaveLayers",
            "inputs": {
                "layers": [number, 0],
                "filename_prefix": f"locked{number}",
                "format": "PNG 16 bit",
                "opaque": "none",
                "alpha": "straight",
                "fps": 0.0,
                "frame": 0,
            },
        }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    before, after = (
        server.base / "output" / f"locked{number}_00001" / "x" for number in ("90", "91")
    )
    for path in sorted(before.iterdir())[1:]:  # the first holds the graph's notes too
        assert path.read_bytes() == (after / path.name).read_bytes()


def test_types_of_comfyui(server):
    """RGBA IMAGE, MASK, VIDEO, and LAYERS where the host has it."""
    graph = {
        "1": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": 8}},
        "2": {
            "class_type": "SplitLayers",
            "inputs": {"layers": ["1", 8], "foreground": 1, "frame": 3},
        },
        "3": {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["2", 0], "alpha": ["2", 5]}},
        "4": {
            "class_type": "SaveImage",
            "inputs": {"images": ["3", 0], "filename_prefix": "joined"},
        },
        "5": {
            "class_type": "SaveVideo",
            "inputs": {
                "video": ["2", 8],
                "filename_prefix": "blended",
                "format": "auto",
                "codec": "auto",
            },
        },
        "6": {
            "class_type": "JoinLayers",
            "inputs": {
                "name": "footage",
                "alpha_is": "alpha (1 = opaque)",
                "fps": 8.0,
                "video": ["2", 8],
                "background": ["2", 2],
            },
        },
        "7": {"class_type": "PreviewLayers", "inputs": {"layers": ["6", 0], "longest_side": 720}},
    }
    known = server.get("/object_info")
    composer = next(
        (
            name
            for name, info in known.items()
            if any(
                kind[0] == "LAYERS" for kind in info["input"].get("required", {}).values() if kind
            )
        ),
        None,
    )
    if composer == "CreateLayeredImage":
        graph["8"] = {"class_type": composer, "inputs": {"layers": ["2", 9]}}
        graph["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"filename_prefix": "../outside"}, "within ComfyUI's output folder"),
        ({"format": "PSD (one frame, all layers)", "frame": 99}, "expected 0 to 15"),
    ],
)
def test_bad_saves_are_clear_errors(server, changes, message):
    before = sorted((server.base / "output").rglob("*"))
    entry = server.run(save_graph("PNG 8 bit", "bad", **changes))
    assert (
        entry["status"]["status_str"] == "error"
        and message in error_of(entry)
        and error_of(entry).startswith("LayerFlow: ")
    )
    assert sorted((server.base / "output").rglob("*")) == before


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_a_saved_file_dropped_on_the_canvas_brings_the_graph_back(server, checkout):
    with open_page(server, 1400, 1000) as page:
        graph = page.evaluate(
            """async (api) => { await app.loadApiJson(api, 'saved'); return JSON.parse(JSON.stringify(app.graph.serialize())) }""",
            save_graph("PNG 8 bit", "dropped"),
        )
        for form, name in (
            ("PNG 16 bit", "foreground/00000.png"),
            ("VP9 (.webm)", "foreground.webm"),
            ("animated WebP", "foreground.webp"),
            ("animated PNG", "foreground.png"),
            ("ProRes 4444 (.mov)", "background.mp4"),
            ("ProRes 4444 (.mov)", "foreground.mov"),
        ):
            prompt = save_graph(form, f"drop{FORMATS.index(form)}", opaque="H.264 (.mp4)")
            answer = server.post(
                "/prompt", {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": graph}}}
            )
            entry = server.wait(answer["prompt_id"])
            assert entry["status"]["status_str"] == "success", error_of(entry)
            path = sorted((server.base / "output").glob(f"drop{FORMATS.index(form)}_*"))[-1] / name
            page.evaluate("app.graph.clear()")
            drop(page, path)
            page.wait_for_function(
                "app.graph._nodes.some(n => n.type === 'SaveLayers')", timeout=15_000
            )
            assert len(page.evaluate("app.graph._nodes.map(n => n.type)")) == 3, name


def drop(page, path) -> None:
    """Drop a file on the canvas the way a user does."""
    data = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        """([data, name, type]) => {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, { type }));
        document.querySelector('canvas#graph-canvas').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true, clientX: 500, clientY: 500 }));
    }""",
        [data, path.name, MIME[path.suffix]],
    )


def test_recomposition_of_real_footage():
    """The DAVIS dog through real nodes: foreground over background plus residual is the footage."""
    from .test_graphs import DOG

    if not DOG.is_dir():
        pytest.skip("the DAVIS clips are not here")
    from layerflow_core.layers import Foreground, LayerVideo
    from layerflow_core.video.files import read_video

    blended, background, mask = (read_video(DOG / name).colour for name in ("bl", "bg", "mask"))
    layers = LayerVideo(
        (Foreground("dog", blended, mask[:, :1]),), background, blended, 8.0
    ).with_residual()
    assert (layers.recompose() + layers.residual - blended).abs().max() <= 1e-6 and torch.isfinite(
        layers.residual
    ).all()


@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_prompts_are_counted_while_they_are_written(server):
    answer = server.post("/layerflow/tokens", {"texts": ["a dog", "", "word " * 400]})
    assert (
        answer["segment"] == 226
        and answer["counts"][1] == 0
        and 4 < answer["counts"][0] < 9
        and answer["counts"][2] > 400
    )
    assert server.post("/layerflow/tokens", {"texts": "a dog"})["http"] == 400
    with open_page(server, 1400, 1000) as page:
        page.evaluate(
            "async (api) => { await app.loadApiJson(api, 'prompts') }",
            {"2": load_graph("generate")["2"]},
        )
        page.wait_for_function(
            "document.querySelector('.layerflow-tokens')?.textContent.includes('of 226 tokens')"
        )
        page.evaluate(
            "(text) => { const w = app.graph._nodes[0].widgets.find(w => w.name === "
            "'background'); w.value = text; w.callback(text) }",
            "word " * 400,
        )
        page.wait_for_function(
            "document.querySelector('.layerflow-tokens').textContent.startsWith('background: more than 226 tokens')"
        )
