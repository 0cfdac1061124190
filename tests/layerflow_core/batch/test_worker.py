import json

import pytest
import torch

from layerflow_core.batch.checking import read_shots
from layerflow_core.batch.worker import DONE, FAILED, ModelOptions, ShotTask, ShotWorker
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.video.files import read_video
from layerflow_core.video.streams.encodings import write_h264


@pytest.fixture
def run(make_batch, tmp_path):
    """A row -> its result and folder."""

    def run(row: dict):
        batch = make_batch([{"name": "a", "background": "a night sky", **row}])
        shot = read_shots(batch.list, batch.out, batch.defaults)[0]
        worker = ShotWorker(batch.model, tmp_path / "latents")
        return worker.run(ShotTask(shot, "0" * 64)), shot.folder

    return run


def test_every_task_gives_a_set_that_says_what_it_was_made_of(run, tmp_path):
    scene = render(draw_scene(3))
    write_h264(tmp_path / "scene.mp4", scene.blended, 12)
    rows = {
        "generate": {},
        "decompose": {"video": "scene.mp4", "count": 8},
        "condition": {"given": {"blended": "scene.mp4"}},
    }
    for task, row in rows.items():
        result, folder = run({"task": task, "seed": 3, "output": task, **row})
        assert (result.state, result.message) == (DONE, "")
        record = json.loads((folder / "layers.json").read_text())
        assert (record["task"], record["seed"], record["shot"]) == (task, 3, "a")
        assert record["inputs_sha256"] == "0" * 64 and record["steps"] == 2
        assert load_layers(folder).alpha.shape[0] == (8 if task == "decompose" else 16)
        assert (folder / "contact_sheet.png").is_file()


def test_a_shot_is_made_as_the_command_makes_it(run, tmp_path, quick_checkpoint):
    from layerflow_core.cli import main

    _, folder = run({"seed": 4})
    words = ["--background", "a night sky", "--seed", "4", "--steps", "2", "--device", "cpu"]
    main(["generate", *words, "--model", str(quick_checkpoint), "--out", str(tmp_path / "one")])
    ours, theirs = (
        read_video(place / "foreground.mov").colour for place in (folder, tmp_path / "one")
    )
    assert torch.equal(ours, theirs)


def test_a_failing_shot_leaves_nothing(run, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    result, folder = run({"task": "decompose", "video": "broken.mp4"})
    assert result.state == FAILED and "broken.mp4" in result.message
    assert not folder.exists()
    assert not folder.parent.exists() or not list(folder.parent.iterdir())


def test_options_are_described_by_all_that_changes_layers(tmp_path):
    (tmp_path / "vae").write_bytes(b"1")
    from dataclasses import replace

    from layerflow_core.inference import LoadOptions
    from layerflow_core.weights.components import Components

    plain = ModelOptions()
    others = [
        replace(plain, how=LoadOptions("fp32")),
        replace(plain, how=LoadOptions(loras=[(tmp_path / "vae", 0.5)])),
        replace(plain, parts=Components(vae=tmp_path / "vae")),
    ]
    assert len({plain.describe(), *(other.describe() for other in others)}) == 4
    assert replace(plain, device="cuda:1", threads=4).describe() == plain.describe()
