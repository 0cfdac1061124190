"""MeasureLayers: figures, chart, and the choice between results."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

LAYERS = 8  # LayerFlowSampleClip's output
BEST, SCORE, FIGURES, CHART = range(4)


@pytest.fixture
def layers(clip):
    return clip[LAYERS]


@pytest.fixture
def shaded(layers):
    """The same with a blended scene that the layers do not make."""
    return replace(layers, blended=(layers.blended - 0.1).clamp(0, 1))


def test_figures_are_text_a_chart_and_numbers(call, layers, host):
    answer = call("MeasureLayers", layers=layers, choose_by="recomposition_ssim")
    best, score, figures, chart = answer["result"]
    assert best is layers and score == pytest.approx(1)
    assert json.loads(figures)["recomposition_psnr"] == pytest.approx(100)
    (text,) = answer["ui"]["layerflow_figures"]
    assert "recomposition_psnr: 100.0" in text and "residual_outside: – (" in text
    (shown,) = answer["ui"]["images"]
    image = np.asarray(Image.open(host.models.parent / "temp" / shown["filename"]))
    assert np.abs(image / 255 - chart[0].numpy()).max() < 1 / 255 and chart.shape[3] == 3


def test_the_better_of_two_goes_on(call, layers, shaded):
    def best_of(first, second):
        inputs = {"layers": first, "rival": second, "choose_by": "recomposition_psnr"}
        return call("MeasureLayers", **inputs)["result"]

    assert best_of(layers, shaded)[BEST] is layers
    chosen = best_of(shaded, layers)
    assert chosen[BEST] is layers and chosen[SCORE] == pytest.approx(100)
    assert json.loads(chosen[FIGURES])["recomposition_psnr"] < 30, "figures are of 'layers'"


def test_less_is_better_for_errors_against_truth(call, layers):
    weak = replace(layers, foregrounds=(replace(layers.foregrounds[0], alpha=layers.alpha * 0.8),))
    inputs = {"layers": weak, "rival": layers, "truth": layers, "choose_by": "alpha_mad"}
    answer = call("MeasureLayers", **inputs)
    assert answer["result"][BEST] is layers and answer["result"][SCORE] == 0
    assert [text.splitlines()[0] for text in answer["ui"]["layerflow_figures"]] == [
        "layers",
        "rival",
    ]


def test_a_choice_without_a_figure_is_an_error_with_its_reason(call, layers):
    with pytest.raises(
        Exception, match="'layers' has no alpha_mad: it is measured against true layers"
    ):
        call("MeasureLayers", layers=layers, choose_by="alpha_mad")
    bare = replace(layers, background=None)
    with pytest.raises(Exception, match="'rival' has no recomposition_psnr.*no background"):
        call("MeasureLayers", layers=layers, rival=bare, choose_by="recomposition_psnr")
