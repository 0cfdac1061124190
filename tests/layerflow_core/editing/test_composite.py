import pytest
import torch

from layerflow_core.editing.composite import Placement, Residual, composite_over, composite_stack
from layerflow_core.errors import FrameError
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.toy.world import draw_scene, render

TRUE = render(draw_scene(8))


@pytest.fixture
def layers():
    torch.manual_seed(1)
    return torch.rand(5, 3, 12, 16), torch.rand(5, 1, 12, 16), torch.rand(5, 3, 12, 16)


def test_equals_the_formula(layers):
    foreground, alpha, background = layers
    expected = foreground.double() * alpha.double() + background.double() * (1 - alpha.double())
    assert (composite_over(*layers) - expected).abs().max() <= 1e-6


def test_opacity_and_premultiplied(layers):
    foreground, alpha, background = layers
    half = composite_over(*layers, Placement(opacity=0.5))
    assert torch.allclose(
        half, foreground * alpha * 0.5 + background * (1 - alpha * 0.5), atol=1e-6
    )
    assert torch.allclose(
        composite_over(
            foreground * alpha, alpha, background, Placement(opacity=0.5, premultiplied=True)
        ),
        half,
        atol=1e-6,
    )


@pytest.mark.parametrize("x, y", [(3, 2), (-4, 0), (0, -5), (100, 0)])
def test_offset_moves_and_uncovers(layers, x, y):
    foreground, alpha, background = layers
    result = composite_over(*layers, Placement(x=x, y=y))
    plain = composite_over(*layers)
    for row in range(12):
        for column in range(16):
            inside = 0 <= row - y < 12 and 0 <= column - x < 16
            a = alpha[:, :, row - y, column - x] if inside else 0.0
            f = foreground[:, :, row - y, column - x] if inside else 0.0
            assert torch.allclose(
                result[:, :, row, column],
                f * a + background[:, :, row, column] * (1 - a),
                atol=1e-6,
            )
    assert result.shape == plain.shape


@pytest.mark.parametrize("rule, count", [("hold", 5), ("loop", 5), ("trim", 3)])
def test_lengths_by_rule_only(layers, rule, count):
    foreground, alpha, background = layers
    with pytest.raises(FrameError, match="hold, loop or trim"):
        composite_over(foreground, alpha, background[:3])
    result = composite_over(foreground, alpha, background[:3], Placement(length=rule))
    assert len(result) == count
    last = {"hold": 2, "loop": 1, "trim": 2}[rule]
    own = count - 1
    assert torch.allclose(
        result[-1], foreground[own] * alpha[own] + background[last] * (1 - alpha[own]), atol=1e-6
    )


def test_still_background_is_held(layers):
    foreground, alpha, background = layers
    assert len(composite_over(foreground, alpha, background[:1])) == 5


def test_sizes_by_rule_only(layers):
    foreground, alpha, _ = layers
    large = torch.rand(5, 3, 24, 32)
    with pytest.raises(FrameError, match="resized"):
        composite_over(foreground, alpha, large)
    assert (
        composite_over(foreground, alpha, large, Placement(resize="foreground")).shape
        == large.shape
    )
    assert (
        composite_over(foreground, alpha, large, Placement(resize="background")).shape
        == foreground.shape
    )
    placed = composite_over(foreground, alpha, large, Placement(resize="place", x=4, y=6))
    assert torch.equal(placed[:, :, :6], large[:, :, :6])
    assert torch.allclose(
        placed[:, :, 6:18, 4:20],
        foreground * alpha + large[:, :, 6:18, 4:20] * (1 - alpha),
        atol=1e-6,
    )


def test_resizing_takes_no_colour_from_beyond_the_edge():
    """A white disc whose transparent pixels are black keeps white edges."""
    alpha = torch.zeros(2, 1, 16, 16)
    alpha[:, :, 4:12, 4:12] = 1
    white = alpha.expand(-1, 3, -1, -1).clone()
    result = composite_over(white, alpha, torch.ones(2, 3, 32, 32), Placement(resize="foreground"))
    assert result.min() > 0.999


def test_different_alpha_length_is_refused(layers):
    foreground, alpha, background = layers
    with pytest.raises(FrameError, match="5 frames.*4 frames"):
        composite_over(foreground, alpha[:4], background)


@pytest.mark.parametrize("wrong", [{"opacity": 1.5}, {"resize": "shrink"}, {"length": "guess"}])
def test_bad_placement_is_refused(wrong):
    with pytest.raises(FrameError):
        Placement(**wrong)


@pytest.fixture
def stack():
    torch.manual_seed(2)
    return tuple(
        Foreground(name, torch.rand(5, 3, 12, 16), torch.rand(5, 1, 12, 16)) for name in "abc"
    )


def test_a_stack_is_what_its_layers_recompose_to(stack, layers):
    background = layers[2]
    expected = LayerVideo(stack, background, None, 8.0).recompose()
    assert torch.equal(composite_stack(stack, background), expected)
    assert torch.equal(composite_stack((), background), background)


def test_placement_is_of_the_lowest_and_its_rules_of_all(stack, layers):
    background = layers[2]
    placed = Placement(opacity=0.5, x=3, y=-2, resize="foreground", length="trim")
    low, *above = stack
    expected = composite_over(low.colour, low.opacity, background, placed)
    for layer in above:
        expected = composite_over(layer.colour, layer.opacity, expected)
    assert torch.equal(composite_stack(stack, background, placed), expected)
    small = Foreground("d", torch.rand(3, 3, 6, 8), torch.rand(3, 1, 6, 8))
    assert composite_stack((low, small), background, placed).shape == (3, 3, 12, 16)
    with pytest.raises(FrameError, match="expected equal lengths"):
        composite_stack((low, small), background, Placement(resize="foreground"))


@pytest.mark.parametrize("follows", [True, False])
def test_a_residual_moves_with_the_foreground_or_stays(stack, layers, follows):
    background = layers[2]
    spot = torch.zeros(5, 3, 12, 16)
    spot[:, :, 4, 5] = 0.25
    placed = Placement(x=2, y=1)
    added = Residual(spot, scale=2.0, follows=follows)
    plain = composite_stack(stack, background, placed)
    met = composite_stack(stack, background, placed, added) - plain
    expected = torch.zeros_like(met)
    row, column = (5, 7) if follows else (4, 5)
    expected[:, :, row, column] = 0.5
    assert torch.allclose(met, expected, atol=1e-6)


def test_layers_and_their_residual_are_the_scene_again(stack, layers):
    explained = LayerVideo(stack, layers[2], layers[0], 8.0).with_residual()
    met = composite_stack(stack, layers[2], residual=Residual(explained.residual))
    assert torch.allclose(met, layers[0], atol=1e-6)


def test_residual_makes_the_composite_exact():
    shadow = TRUE.blended * 0.8
    layers = LayerVideo(
        (Foreground("foreground", TRUE.foreground, TRUE.alpha),),
        TRUE.background.contiguous(),
        shadow,
        8.0,
    ).with_residual()
    again = composite_over(TRUE.foreground, TRUE.alpha, layers.background) + layers.residual
    assert (again - shadow).abs().max() < 1e-6
    with pytest.raises(FrameError, match="no blended scene"):
        LayerVideo(layers.foregrounds, layers.background, None, 8.0).with_residual()
