import pytest
import torch

from layerflow_core.evaluation.fidelity import mean_error, psnr
from layerflow_core.toy.measures import (
    gradient_error,
    name_background,
    name_colour,
    name_motion,
    name_shape,
    path_length,
    shape_consistency,
    soft_iou,
)
from layerflow_core.toy.world import draw_scenes, render

SCENES = [(scene, render(scene)) for scene in draw_scenes(40, 77)]


@pytest.mark.parametrize(
    "rule, word, layers",
    [
        (name_colour, "colour", ("foreground", "alpha")),
        (name_background, "background", ("background",)),
        (name_shape, "shape", ("alpha",)),
        (name_motion, "motion", ("alpha",)),
    ],
)
def test_rules_are_right_on_true_clips(rule, word, layers):
    right = [
        rule(*(getattr(true, layer) for layer in layers)) == getattr(scene, word)
        for scene, true in SCENES
    ]
    assert sum(right) >= 39


def test_rules_survive_noise():
    generator = torch.Generator().manual_seed(0)
    for rule, word in ((name_shape, "shape"), (name_motion, "motion")):
        noisy = (
            (
                scene,
                (true.alpha + 0.08 * torch.randn(true.alpha.shape, generator=generator)).clamp(
                    0, 1
                ),
            )
            for scene, true in SCENES[:20]
        )
        assert sum(rule(alpha) == getattr(scene, word) for scene, alpha in noisy) >= 17


def test_an_empty_alpha_is_no_error():
    empty = torch.zeros(16, 1, 64, 96)
    assert name_motion(empty) == "standing still" and path_length(empty) == 0 and name_shape(empty)
    assert name_colour(torch.zeros(16, 3, 64, 96), empty)


def test_errors_are_nothing_where_nothing_is_wrong_and_grow_with_what_is():
    alpha = SCENES[0][1].alpha
    moved = alpha.roll(3, -1)
    assert (
        soft_iou(alpha, alpha) == 1
        and gradient_error(alpha, alpha) == 0
        and mean_error(alpha, alpha) == 0
        and psnr(alpha, alpha) == pytest.approx(100)
    )
    assert 0.3 < soft_iou(alpha, moved) < 1 and gradient_error(alpha, moved) > 0
    soft = torch.nn.functional.avg_pool2d(alpha, 5, 1, 2)
    assert gradient_error(soft, alpha) > 0
    where = torch.zeros_like(alpha, dtype=torch.bool)
    where[..., :10] = True
    assert mean_error(torch.zeros(16, 3, 64, 96), torch.ones(16, 3, 64, 96), where) == 1


def test_paths_and_outlines():
    by_motion = {scene.motion: true.alpha for scene, true in SCENES}
    assert path_length(by_motion["moving right"]) == pytest.approx(0.5, abs=0.05)
    assert path_length(by_motion["standing still"]) < 0.01
    assert path_length(by_motion["circling"]) == pytest.approx(2 * 3.14159 * 0.1, rel=0.1)
    steady = by_motion["moving right"]
    boiling = (
        torch.cat([steady[::2], SCENES[1][1].alpha[::2]])
        .view(2, 8, 1, 64, 96)
        .transpose(0, 1)
        .flatten(0, 1)
    )
    assert shape_consistency(steady) > 0.93 > shape_consistency(boiling)
