from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.matte import dtssd, mad
from layerflow_core.evaluation.sample import Sample
from layerflow_core.evaluation.truth import (
    HIDDEN,
    VISIBLE,
    background_lpips,
    background_psnr,
    background_ssim,
    foreground_mad,
    foreground_mse,
    of_alpha,
)

from .scenes import make_layers

TRUE = make_layers()


def test_alpha_is_averaged_over_frames_and_foregrounds():
    late = make_layers(start=26)
    sample = Sample(late, TRUE)
    assert of_alpha(mad)(sample) == pytest.approx(float(mad(late.alpha, TRUE.alpha).mean()))
    twice = replace(late, foregrounds=(late.foregrounds[0], TRUE.foregrounds[0]))
    both = Sample(twice, replace(TRUE, foregrounds=TRUE.foregrounds * 2))
    assert of_alpha(dtssd)(both) == pytest.approx(of_alpha(dtssd)(sample) / 2)


def test_colour_counts_where_the_truth_is_seen():
    layer = TRUE.foregrounds[0]
    colour = torch.where(layer.alpha > 0, layer.colour + 0.05, torch.zeros_like(layer.colour))
    sample = Sample(replace(TRUE, foregrounds=(replace(layer, colour=colour),)), TRUE)
    assert foreground_mad(sample) == pytest.approx(50, abs=1e-3)
    assert foreground_mse(sample) == pytest.approx(2.5, abs=1e-3)


def test_what_is_invented_and_what_is_kept_are_told_apart():
    hole = torch.where(TRUE.alpha > 0, TRUE.background + 0.1, TRUE.background)
    sample = Sample(replace(TRUE, background=hole), TRUE)
    assert background_psnr(sample, VISIBLE) == pytest.approx(100)
    hidden = background_psnr(sample, HIDDEN)
    assert 20 < hidden < background_psnr(sample) < 100
    assert background_ssim(sample, HIDDEN) < background_ssim(sample) < 1


def test_the_hidden_region_of_an_empty_truth_is_left_out():
    layer = TRUE.foregrounds[0]
    empty = replace(TRUE, foregrounds=(replace(layer, alpha=torch.zeros_like(layer.alpha)),))
    with pytest.raises(EvaluationError, match="nothing is in the region"):
        background_psnr(Sample(TRUE, empty), HIDDEN)
    assert background_psnr(Sample(TRUE, empty), VISIBLE) == pytest.approx(100)


class _Distance:
    """A network that sees the difference of means."""

    smallest = 32

    def map(self, a, b):
        return (a - b).abs().mean(1, keepdim=True).float()


class _Networks:
    lpips = _Distance()


def test_lpips_is_averaged_within_a_region():
    hole = torch.where(TRUE.alpha > 0, TRUE.background + 0.1, TRUE.background)
    sample = Sample(replace(TRUE, background=hole), TRUE, networks=_Networks())
    assert background_lpips(sample, VISIBLE) == 0
    assert background_lpips(sample, HIDDEN) > background_lpips(sample) > 0
    small = replace(TRUE, background=TRUE.background[..., :20, :20])
    truth = replace(small, foregrounds=(), blended=None)
    with pytest.raises(EvaluationError, match="expected sides of 32 pixels"):
        background_lpips(Sample(truth, truth, networks=_Networks()))
