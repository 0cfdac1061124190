"""Two servers on one output folder, saving and collecting the same names at the same time.

``LAYERFLOW_SOAK_SECONDS`` is how long they do so: 20 by default.
"""

import itertools
import json
import os
import time

import pytest
import torch

from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video.files import read_video

from .comfy_server import Server, error_of, start

SECONDS = float(os.environ.get("LAYERFLOW_SOAK_SECONDS", "20"))


@pytest.fixture(scope="module")
def pair(checkout, tmp_path_factory):
    if checkout is None:
        pytest.skip("no ComfyUI checkout")
    shared = tmp_path_factory.mktemp("shared_output")
    servers = []
    for number in (1, 2):
        base = tmp_path_factory.mktemp(f"server_{number}")
        servers.append(start(checkout, base, "--output-directory", str(shared)))
    yield servers, shared
    for server in servers:
        server.process.terminate()
        server.process.wait(30)


def saving_graph(seed: int) -> dict:
    """One scene to a set and to a dataset; both names are the same for every seed."""
    return {
        "clip": {"class_type": "LayerFlowSampleClip", "inputs": {"seed": seed}},
        "save": {
            "class_type": "SaveLayers",
            "inputs": {
                "layers": ["clip", 8],
                "filename_prefix": "sets/x",
                "format": "PNG 8 bit",
                "opaque": "none",
                "alpha": "straight",
                "fps": 0.0,
                "frame": 0,
            },
        },
        "collect": {
            "class_type": "CollectLayerClip",
            "inputs": {
                "foreground": ["clip", 0],
                "alpha": ["clip", 1],
                "background": ["clip", 2],
                "blended": ["clip", 3],
                "foreground_prompt": f"seed {seed}",
                "background_prompt": "b",
                "blended_prompt": "c",
                "dataset": "clips",
                "name": "clip",
                "fps": 8.0,
                "alpha_is": "alpha (1 = opaque)",
            },
        },
    }


def run_for(servers: list[Server], seconds: float) -> list[int]:
    """Keep both queues filled; the seeds that were run."""
    seeds = itertools.count(1)
    done = []
    deadline = time.time() + seconds
    while time.time() < deadline:
        queued = []
        for seed, server in zip(itertools.islice(seeds, 8), itertools.cycle(servers)):
            queued.append((seed, server, server.queue(saving_graph(seed))))
        for seed, server, prompt_id in queued:
            entry = server.wait(prompt_id)
            assert entry["status"]["status_str"] == "success", error_of(entry)
            done.append(seed)
    return done


def test_nothing_is_lost_and_nothing_is_mixed(pair):
    servers, output = pair
    seeds = run_for(servers, SECONDS)
    sets = sorted((output / "sets").iterdir())
    clips = sorted((output / "clips").iterdir())
    assert len(sets) == len(clips) == len(seeds)

    found = {}
    for folder in sets:
        record = json.loads((folder / "layers.json").read_text())
        seed = record["prompt"]["clip"]["inputs"]["seed"]
        found[seed] = read_video(folder / "foreground").alpha
    assert sorted(found) == sorted(seeds)
    for seed, alpha in found.items():
        true = render(draw_scene(seed, held_out=True)).alpha
        assert (alpha - true).abs().max() < 0.01, (
            f"the set of seed {seed} has another scene's alpha"
        )

    described = {}
    for folder in clips:
        prompt = json.loads((folder / "layers.json").read_text())["prompts"]["foreground"]
        described[int(prompt.removeprefix("seed "))] = read_video(folder / "foreground").alpha
    assert sorted(described) == sorted(seeds)
    for seed, alpha in described.items():
        true = render(draw_scene(seed, held_out=True)).alpha
        assert torch.allclose(alpha, true, atol=0.01), f"the clip of seed {seed} is mixed"
    assert not [path for path in output.rglob("*.part*")]
