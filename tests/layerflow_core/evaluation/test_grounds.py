from dataclasses import replace

import pytest
import torch

from layerflow_core.evaluation.fidelity import frame_psnr
from layerflow_core.evaluation.grounds import GROUNDS, composite, grounds_psnr, grounds_ssim
from layerflow_core.evaluation.sample import Sample

from .scenes import make_layers

LAYERS = make_layers()


def test_nine_grounds():
    assert len(set(GROUNDS.values())) == 9
    layer = LAYERS.foregrounds[0]
    empty = replace(layer, alpha=torch.zeros_like(layer.alpha))
    assert composite(empty, GROUNDS["cyan"])[0, :, 0, 0].tolist() == [0, 1, 1]


def test_the_same_layer_is_perfect_over_every_ground():
    assert grounds_psnr(Sample(LAYERS, LAYERS)) == pytest.approx(100)
    assert grounds_ssim(Sample(LAYERS, LAYERS)) == pytest.approx(1)


def test_a_hazy_alpha_shows_over_grounds_that_are_unlike_the_colour():
    layer = LAYERS.foregrounds[0]
    hazy = replace(layer, alpha=layer.alpha.clamp(min=0.1))
    by_ground = {
        name: frame_psnr(composite(hazy, ground), composite(layer, ground))
        for name, ground in GROUNDS.items()
    }
    assert by_ground["red"] > by_ground["grey"] > by_ground["cyan"]
    sample = Sample(replace(LAYERS, foregrounds=(hazy,)), LAYERS)
    assert grounds_psnr(sample) == pytest.approx(sum(by_ground.values()) / 9)
    assert grounds_ssim(sample) < 1
