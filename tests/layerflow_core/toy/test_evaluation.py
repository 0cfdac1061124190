import json

import pytest

from layerflow_core.errors import SamplingError
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.evaluation import (
    SEEDS_APART,
    EvaluationPlan,
    measure_scene,
    write_figures,
)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"scenes": 1}, {"scenes": 0}])
def test_seeds_and_numbers_of_scenes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(SamplingError, match="expected 0 or more and 2 or more"):
        EvaluationPlan(EMBEDDED, **wrong)


def test_seeds_share_no_scene_and_indices_wrap():
    first = EvaluationPlan(EMBEDDED, seed=0, scenes=4)
    second = EvaluationPlan(EMBEDDED, seed=1, scenes=4)
    assert first.scenes < SEEDS_APART
    assert first.scene(1) == first.scene(5)
    scenes = [plan.scene(index).prompts for plan in (first, second) for index in range(4)]
    assert len({tuple(prompts.items()) for prompts in scenes}) > 4


def test_a_scene_is_measured_in_every_group(quick_model):
    figures = measure_scene(quick_model, EvaluationPlan(EMBEDDED, scenes=2, steps=1), 0)
    assert {"decompose", "generate", "conditioned", "trivial", "truth", "vae"} == set(figures)
    assert figures["truth"]["shape"] == 1
    # Weights of no training find nothing that an empty alpha does not.
    assert figures["decompose"]["alpha_iou"] < 0.5


def test_figures_are_written_whole(tmp_path):
    write_figures({"scenes": 3}, tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == {"scenes": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
