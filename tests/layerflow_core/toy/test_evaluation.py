import json

import pytest

from layerflow_core.errors import SamplingError
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.evaluation import (
    SEEDS_APART,
    EvaluationPlan,
    _as_video,
    _compare,
    _trivial,
    measure_scene,
    write_figures,
)
from layerflow_core.toy.world import render


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


def test_figures_are_those_of_before_the_measures_were_shared():
    """Recorded from two held-out scenes when this file had measures of its own; docs/proof.md compares with them."""
    plan = EvaluationPlan(EMBEDDED, scenes=2)
    true, other = (render(plan.scene(index)) for index in (0, 1))
    assert _compare(_as_video(other, 8), true) == pytest.approx(
        {
            "alpha_mae": 0.15459983050823212,
            "alpha_iou": 0.000950334535446018,
            "alpha_gradient": 0.035835087299346924,
            "background_psnr": 10.083191883039495,
            "background_psnr_whole": 9.726172774348132,
            "foreground_mae": 0.2066381275653839,
        },
        rel=1e-5,
    )
    trivial = _trivial(true, other)
    assert trivial["blend_as_background_psnr"] == pytest.approx(15.41752464998871, rel=1e-5)
    assert trivial["other_blend_composite_mae"] == pytest.approx(0.2624964118003845, rel=1e-5)


def test_figures_are_written_whole(tmp_path):
    write_figures({"scenes": 3}, tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == {"scenes": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
