from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.recomposition import (
    recomposition_psnr,
    recomposition_ssim,
    residual_flicker,
    residual_outside,
)
from layerflow_core.evaluation.sample import Sample

from .scenes import make_layers

LAYERS = make_layers()


def shadowed(where: slice, depth: float = 0.1, frames: slice = slice(None)) -> Sample:
    """The blended scene is darker in some columns."""
    blended = LAYERS.blended.clone()
    blended[frames, ..., where] -= depth
    return Sample(replace(LAYERS, blended=blended))


def test_layers_that_make_their_blend_are_perfect():
    assert recomposition_psnr(Sample(LAYERS)) == pytest.approx(100)
    assert recomposition_ssim(Sample(LAYERS)) == pytest.approx(1)
    assert residual_flicker(Sample(LAYERS)) == 0
    with pytest.raises(EvaluationError, match="there is no residual"):
        residual_outside(Sample(LAYERS))


def test_a_shadow_costs_what_it_is_deep():
    sample = shadowed(slice(None))
    assert recomposition_psnr(sample) == pytest.approx(20, abs=1e-4)
    assert recomposition_ssim(sample) < 0.99
    assert residual_flicker(sample) == pytest.approx(0, abs=1e-4)


def test_where_the_residual_lies():
    assert residual_outside(shadowed(slice(60, 64))) == pytest.approx(1)
    on_object = torch.where(LAYERS.alpha > 0.5, LAYERS.blended - 0.1, LAYERS.blended)
    assert residual_outside(Sample(replace(LAYERS, blended=on_object))) == pytest.approx(0)


def test_a_residual_that_comes_and_goes_flickers():
    once = residual_flicker(shadowed(slice(None), 0.1, slice(1, 2)))
    assert once == pytest.approx(10, abs=1e-3)
    with pytest.raises(EvaluationError, match="one frame"):
        residual_flicker(Sample(make_layers(1)))
