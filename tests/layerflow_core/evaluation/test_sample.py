from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.sample import Sample
from layerflow_core.evaluation.truth import HIDDEN, background_psnr
from layerflow_core.layers import Foreground, LayerVideo

from .scenes import make_layers

LAYERS = make_layers()


def test_what_is_derived_of_a_result():
    sample = Sample(LAYERS, LAYERS)
    assert torch.equal(sample.matte, LAYERS.alpha)
    assert sample.residual.abs().max() < 1e-6
    region = sample.hidden
    assert (region & (LAYERS.alpha > 0)).sum() == (LAYERS.alpha > 0).sum()
    assert (LAYERS.alpha > 0).sum() < region.sum() < region.numel()


def test_foregrounds_hide_together():
    second = make_layers(start=44).foregrounds[0]
    both = replace(LAYERS, foregrounds=(*LAYERS.foregrounds, replace(second, name="second")))
    matte = Sample(both).matte
    assert torch.allclose(1 - matte, (1 - LAYERS.alpha) * (1 - second.alpha), atol=1e-6)


@pytest.mark.parametrize(
    "change, asked, reason",
    [
        ({"background": None}, "recomposed", "the result has no background"),
        ({"blended": None}, "residual", "the result has no blended"),
        ({"foregrounds": ()}, "matte", "the result has no foreground"),
        (
            {"foregrounds": (Foreground("cat", LAYERS.foreground, None),)},
            "matte",
            "the result has no alpha for cat",
        ),
    ],
)
def test_what_is_not_there_is_named(change, asked, reason):
    with pytest.raises(EvaluationError, match=reason):
        getattr(Sample(replace(LAYERS, **change)), asked)


def test_a_truth_that_does_not_fit_is_named():
    with pytest.raises(EvaluationError, match="there are no true layers"):
        background_psnr(Sample(LAYERS))
    with pytest.raises(EvaluationError, match="got 3 frames of 64 x 48 and a truth of 2 frames"):
        background_psnr(Sample(LAYERS, make_layers(2)), HIDDEN)
    none = LayerVideo(LAYERS.foregrounds * 2, LAYERS.background, None, 8)
    with pytest.raises(EvaluationError, match="got 1 foregrounds and a truth of 2"):
        list(Sample(LAYERS, none).pairs())
