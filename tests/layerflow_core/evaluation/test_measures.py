from dataclasses import replace
from pathlib import Path

import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.measures import (
    LESS,
    MEASURES,
    MORE,
    Figures,
    check_names,
    choosing_names,
    default_names,
    is_better,
    measure_sample,
    score_of,
)
from layerflow_core.evaluation.sample import Sample
from layerflow_core.layers import Foreground

from .scenes import make_layers

TRUE = make_layers()
DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"
PERFECT = {"psnr": 100, "ssim": 1}
BY_FORMULA = default_names(True, by_network=False)


def test_every_measure_of_the_truth_itself_is_perfect_or_says_why_not():
    pytest.importorskip("scipy")
    figures = measure_sample(Sample(TRUE, TRUE), BY_FORMULA)
    for name, value in figures.values.items():
        row = MEASURES[name]
        if row.needs_truth or name.startswith("recomposition"):
            expected = PERFECT.get(name.rpartition("_")[2], 0)
            assert value == pytest.approx(expected, abs=1e-6), name
    assert set(figures.left_out) == {"residual_outside"}


def test_every_measure_that_has_a_better_way_is_worse_for_a_worse_result():
    pytest.importorskip("scipy")
    noise = torch.rand(TRUE.background.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    layer = TRUE.foregrounds[0]
    bad = replace(
        TRUE,
        foregrounds=(
            replace(
                layer,
                colour=(layer.colour + 0.2 * noise).clamp(0, 1),
                alpha=(layer.alpha * 0.7 + 0.2 * noise[:, :1]).clamp(0, 1),
            ),
        ),
        background=(TRUE.background + 0.2 * noise).clamp(0, 1),
    )
    good = measure_sample(Sample(TRUE, TRUE), BY_FORMULA).values
    worse = measure_sample(Sample(bad, TRUE), BY_FORMULA).values
    for name in good:
        if MEASURES[name].better == MORE:
            assert worse[name] < good[name], name
        if MEASURES[name].better == LESS:
            assert worse[name] > good[name], name


def test_without_truth_and_without_alpha_the_rest_is_measured():
    assert not any(MEASURES[name].needs_truth for name in default_names(False))
    without = replace(TRUE, foregrounds=(Foreground("cat", TRUE.foreground, None),))
    figures = measure_sample(Sample(without, TRUE), BY_FORMULA)
    assert figures.values["background_psnr"] == pytest.approx(100)
    assert figures.left_out["alpha_mad"] == "the result has no alpha for cat"
    assert figures.left_out["recomposition_psnr"] == "the result has no alpha for cat"


def test_one_frame_has_no_flicker_and_everything_else():
    figures = measure_sample(Sample(make_layers(1)), BY_FORMULA)
    assert {"residual_flicker", "alpha_flicker"} < set(figures.left_out)
    assert figures.values["recomposition_psnr"] == pytest.approx(100)


def test_pixels_that_are_no_numbers_have_no_figure():
    broken = replace(TRUE, background=torch.full_like(TRUE.background, torch.nan))
    figures = measure_sample(Sample(broken), ["recomposition_psnr", "alpha_between"])
    assert list(figures.values) == ["alpha_between"]
    assert "not finite" in figures.left_out["recomposition_psnr"]


def test_figures_are_joined_in_the_order_of_the_table():
    first = Figures({"alpha_flicker": 1.0}, {"alpha_mad": "no truth", "alpha_mse": "no truth"})
    second = Figures({"alpha_mad": 2.0, "recomposition_psnr": 3.0})
    joined = first.joined(second)
    assert list(joined.values) == ["recomposition_psnr", "alpha_flicker", "alpha_mad"]
    assert joined.left_out == {"alpha_mse": "no truth"}


def test_which_of_two_results_is_better():
    assert is_better("recomposition_psnr", 30, 20) and not is_better("recomposition_psnr", 20, 20)
    assert is_better("alpha_mad", 1, 2) and "alpha_between" not in choosing_names()
    with pytest.raises(EvaluationError, match="alpha_between does not say"):
        is_better("alpha_between", 1, 2)


def test_a_score_that_is_not_there_has_its_reason():
    figures = Figures({"alpha_flicker": 2.0}, {"alpha_mad": "no truth"})
    assert score_of(figures, "alpha_flicker", "the result") == 2
    with pytest.raises(EvaluationError, match="the rival has no alpha_mad: no truth"):
        score_of(figures, "alpha_mad", "the rival")
    with pytest.raises(EvaluationError, match="it is measured against true layers"):
        score_of(figures, "alpha_mse", "the rival")


def test_unknown_names_are_refused():
    assert check_names(["alpha_mad"]) == ["alpha_mad"]
    with pytest.raises(EvaluationError, match="got the measure 'beauty'.*recomposition_psnr"):
        check_names(["beauty"])


def test_what_looks_with_networks_is_told_apart():
    networks = set(default_names(False)) - set(default_names(False, by_network=False))
    assert len(networks) == 20 and all(MEASURES[name].needs_network for name in networks)
    assert not any(MEASURES[name].needs_network for name in choosing_names())
    assert MEASURES["background_hidden_lpips"].needs_network


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_documented(name):
    assert f"`{name}`" in DOCS.read_text()
