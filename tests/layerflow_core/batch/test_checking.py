import pytest

from layerflow_core.batch.checking import read_model_config, read_shots
from layerflow_core.errors import BatchError, CheckpointError
from layerflow_core.toy.embedded import EMBEDDED

GOOD = {"foreground": "a red star"}


def shots_of(batch):
    return read_shots(batch.list, batch.out, batch.defaults)


def test_ten_kinds_of_mistakes_are_named_at_once_with_their_places(make_batch, tmp_path):
    (tmp_path / "note.mp4").mkdir()
    (tmp_path / "out" / "taken").mkdir(parents=True)
    rows = {
        "colour": (GOOD | {"colour": "red"}, "colour: got 'red'"),
        "task": (GOOD | {"task": "dream"}, "task 'dream', expected one of generate"),
        "missing": (GOOD | {"task": "decompose", "video": "none.mp4"}, "none.mp4 is not there"),
        "empty": (GOOD | {"task": "decompose", "video": "note.mp4"}, "note.mp4"),
        "lacks": (GOOD | {"task": "condition"}, "condition lacks given"),
        "prompts": ({}, "got no prompts"),
        "seeds": (GOOD | {"seeds": "4-1"}, "seeds: got '4-1'"),
        "steps": (GOOD | {"steps": 900}, "got 900 steps, expected 1 to 200"),
        "solver": (GOOD | {"solver": "magic"}, "magic"),
        "start": (GOOD | {"start": "soon"}, "start: got 'soon'"),
        "output": (GOOD | {"output": "../{name}"}, "output: got '..'"),
        "placeholder": (GOOD | {"output": "{name.__class__}"}, "got the placeholders"),
        "model": (GOOD | {"model": "none.safetensors"}, "none.safetensors is not there"),
        "format": (GOOD | {"format": "GIF"}, "unknown format 'GIF'"),
        "fit": (GOOD | {"fit": "squeeze"}, "fit: got 'squeeze'"),
        "a/b": (GOOD, "name: got 'a/b'"),
        "taken": (GOOD, "no result of a batch"),
    }
    batch = make_batch([{"name": name, **row} for name, (row, _) in rows.items()])
    with pytest.raises(BatchError) as caught:
        shots_of(batch)
    lines = str(caught.value).splitlines()
    assert "nothing was run" in lines[0]
    for number, (name, (_, message)) in enumerate(rows.items(), 1):
        place = f"shot {number} ({name}): "
        assert any(place in line and message in line for line in lines), (name, str(caught.value))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["taken"]


def test_several_mistakes_of_one_row_are_all_named(make_batch):
    row = {"steps": 0, "scale": -1, "solver": "x", "fit": "y", "seed": -1, "more": 1}
    with pytest.raises(BatchError, match="7 mistakes"):
        shots_of(make_batch([row]))


def test_seeds_are_shots_and_outputs_follow_their_pattern(make_batch):
    rows = [
        GOOD | {"seeds": "3-5"},
        GOOD | {"name": "b", "seeds": [9], "output": "{task}/{name}_{number}"},
        GOOD | {"name": "c"},
    ]
    shots = shots_of(make_batch(rows))
    names = [shot.folder.relative_to(shot.folder.parents[0]).name for shot in shots]
    assert names == ["shot_0001_3", "shot_0001_4", "shot_0001_5", "b_0004", "c"]
    assert shots[3].folder.parent.name == "generate"
    assert [shot.number for shot in shots] == [1, 2, 3, 4, 5]
    assert [shot.seed for shot in shots] == [3, 4, 5, 9, 0]


@pytest.mark.parametrize("outputs", [("a", "A"), ("a", "a/b"), ("{task}", "{task}")])
def test_two_shots_never_share_a_folder(make_batch, outputs):
    rows = [GOOD | {"name": f"n{n}", "output": output} for n, output in enumerate(outputs)]
    with pytest.raises(BatchError, match="as shot 1|within the folder of shot 1"):
        shots_of(make_batch(rows))


def test_defaults_give_way_to_the_list(make_batch):
    first, second = shots_of(make_batch([GOOD | {"steps": 7, "name": "a"}, GOOD], steps=3))
    assert (first.sampler["steps"], second.sampler["steps"]) == (7, 3)


def test_a_checkpoint_that_does_another_task_is_named(make_batch, tmp_path, make_network):
    from layerflow_core.model.network import LayerFlowNetwork
    from layerflow_core.weights.checkpoint import Checkpoint, write_checkpoint

    network: LayerFlowNetwork = make_network("gen_rgba")
    path = tmp_path / "gen.safetensors"
    write_checkpoint(Checkpoint(network.config, {}), path)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(b"x")
    row = GOOD | {"task": "decompose", "video": "frames", "model": str(path)}
    with pytest.raises(BatchError, match="was trained to generate"):
        shots_of(make_batch([row]))


def test_a_config_is_read_from_the_header():
    assert read_model_config(EMBEDDED).unified
    with pytest.raises(CheckpointError, match="is not there"):
        read_model_config(EMBEDDED.with_name("none"))
