import json
import os

import pytest

from layerflow_core.errors import EvaluationError, VideoFileError
from layerflow_core.evaluation.runs import find_runs, fingerprint, load

from .saved import PROMPTS, save
from .scenes import make_layers


@pytest.fixture
def results(tmp_path):
    for name in ("one", "deep/two"):
        save(tmp_path / "results" / name, make_layers())
    return tmp_path / "results"


def test_sets_are_found_at_any_depth_and_below_hidden_folders_not(results, tmp_path):
    save(results / ".hidden", make_layers())
    save(results / "one" / "inside", make_layers())
    (run,) = find_runs([results])
    assert run.name == "results"
    assert [one.name for one in run.sets] == ["deep/two", "one"]
    (alone, record) = find_runs([results / "one", results / "one" / "layers.json"])
    assert [one.name for one in alone.sets] == ["."]
    assert record.sets[0].record == alone.sets[0].record


def test_runs_of_one_name_are_told_apart(results, tmp_path):
    save(tmp_path / "other" / "results", make_layers())
    names = [run.name for run in find_runs([results, tmp_path / "other" / "results"])]
    assert names == ["results", "results_2"]


def test_truth_is_one_set_or_sets_of_the_same_names(results, tmp_path):
    truth = save(tmp_path / "truth" / "one", make_layers())
    (run,) = find_runs([results], truth)
    assert {one.truth for one in run.sets} == {truth / "layers.json"}
    (run,) = find_runs([results], truth.parent)
    assert [one.truth for one in run.sets] == [None, truth / "layers.json"]


def test_folders_without_sets_are_named(results, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="empty has no set of layers: expected.*layers.json"):
        find_runs([results, tmp_path / "empty"])
    with pytest.raises(EvaluationError, match="none is not there"):
        find_runs([results], tmp_path / "none")
    with pytest.raises(EvaluationError, match="got no folder"):
        find_runs([])


def test_layers_come_with_the_prompts_of_their_record(results):
    record = results / "one" / "layers.json"
    loaded = load(record)
    assert loaded.prompts == PROMPTS and loaded.layers.alpha.shape == (3, 1, 48, 64)
    written = json.loads(record.read_text())
    record.write_text(json.dumps({**written, "prompts": [1, 2]}))
    assert load(record).prompts == {}


def test_a_fingerprint_is_of_all_files(results):
    record = results / "one" / "layers.json"
    before = fingerprint(record)
    assert fingerprint(record) == before
    image = sorted((results / "one" / "background").iterdir())[1]
    os.utime(image, ns=(1, 1))
    assert fingerprint(record) != before
    record.write_text("{}")
    with pytest.raises(VideoFileError):
        fingerprint(record)
