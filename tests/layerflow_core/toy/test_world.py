import pytest
import torch

from layerflow_core.errors import LayoutError
from layerflow_core.toy.measures import name_background, name_colour
from layerflow_core.toy.world import (
    BACKGROUNDS,
    COLOURS,
    MATERIALS,
    MOTIONS,
    SHAPES,
    draw_scene,
    draw_scenes,
    render,
)

SCENES = list(draw_scenes(60, 0))


@pytest.mark.parametrize("scene", SCENES[:20], ids=lambda s: s.blended_prompt)
def test_layers_compose_exactly(scene):
    layers = render(scene)
    assert torch.equal(
        layers.blended, layers.foreground * layers.alpha + layers.background * (1 - layers.alpha)
    )
    for pixels in (layers.foreground, layers.alpha, layers.background, layers.blended):
        assert pixels.min() >= 0 and pixels.max() <= 1
    assert layers.alpha.max() == pytest.approx(MATERIALS[scene.material])


def test_colour_reaches_under_the_soft_edge():
    layers = render(SCENES[0])
    grey = (layers.foreground == 0.5).all(1, keepdim=True)
    assert not (grey & (layers.alpha > 0)).any()


def test_a_scene_depends_on_its_seed_alone():
    torch.manual_seed(1)
    assert draw_scene(7) == draw_scene(7) != draw_scene(8)


def test_shapes_stay_in_the_image_and_move_slowly():
    for scene in SCENES:
        alpha = render(scene).alpha
        assert float(alpha.mean()) > 0.015, scene
        y = torch.arange(64.0).view(1, 64, 1)
        x = torch.arange(96.0).view(1, 1, 96)
        mass = alpha[:, 0].sum((1, 2))
        centre = torch.stack(
            [(alpha[:, 0] * y).sum((1, 2)) / mass, (alpha[:, 0] * x).sum((1, 2)) / mass], 1
        )
        assert (centre[1:] - centre[:-1]).norm(dim=1).max() < 3.2, scene


def test_an_eleventh_is_held_out():
    scenes = list(draw_scenes(2000, 0))
    share = sum(s.held_out for s in scenes) / len(scenes)
    assert 0.07 < share < 0.115
    assert all(s.held_out for s in draw_scenes(10, 0, held_out=True))
    assert not any(s.held_out for s in draw_scenes(10, 0, held_out=False))
    for table, name in (
        (SHAPES, "shape"),
        (COLOURS, "colour"),
        (BACKGROUNDS, "background"),
        (MOTIONS, "motion"),
    ):
        assert {getattr(s, name) for s in scenes if s.held_out} == set(table)


def test_rules_know_true_clips():
    """What measures generated clips must be right on true ones."""
    for scene in SCENES:
        layers = render(scene)
        assert name_colour(layers.foreground, layers.alpha) == scene.colour
        assert name_background(layers.background) == scene.background


def test_resolution_does_not_change_the_scene():
    small, large = render(SCENES[1], height=32, width=48), render(SCENES[1])
    pooled = torch.nn.functional.avg_pool2d(large.alpha, 2)
    assert (small.alpha - pooled).abs().mean() < 0.02


def test_negative_seed():
    with pytest.raises(LayoutError):
        draw_scene(-1)
