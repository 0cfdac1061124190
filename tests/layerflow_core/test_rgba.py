import pytest
import torch

from layerflow_core.errors import FrameError
from layerflow_core.layout import find_layout
from layerflow_core.rgba import checkerboard, from_grey, from_model, over, over_grey, to_model


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return torch.rand(4, 3, 8, 8), torch.rand(4, 1, 8, 8), torch.rand(4, 3, 8, 8)


def test_over_is_the_formula(layers):
    foreground, alpha, background = layers
    expected = foreground.double() * alpha.double() + background.double() * (1 - alpha.double())
    assert (over(foreground, alpha, background) - expected).abs().max() <= 1e-6
    assert (
        over(foreground * alpha, alpha, background, premultiplied=True) - expected
    ).abs().max() <= 1e-6


def test_over_at_the_ends(layers):
    foreground, alpha, background = layers
    assert torch.equal(over(foreground, torch.ones_like(alpha), background), foreground)
    assert torch.equal(over(foreground, torch.zeros_like(alpha), background), background)
    assert torch.equal(over(foreground, alpha, background, opacity=0), background)


def test_transparent_is_mid_grey(layers):
    foreground, alpha, _ = layers
    assert torch.equal(over_grey(foreground, torch.zeros_like(alpha)), torch.zeros_like(foreground))
    assert torch.allclose(over_grey(foreground, torch.ones_like(alpha)), foreground * 2 - 1)


def test_grey_round_trip_is_exact_where_there_is_alpha(layers):
    foreground, alpha, _ = layers
    alpha = alpha.clamp(min=1 / 16)
    assert (from_grey(over_grey(foreground, alpha), alpha) - foreground).abs().max() < 1e-5


@pytest.mark.parametrize("variant", ["gen_rgba", "gen_rgb"])
def test_model_round_trip(variant, layers):
    foreground, alpha, background = layers
    layout = find_layout(variant)
    clips = {
        "foreground": foreground,
        "alpha": alpha.clamp(min=0.1),
        "background": background,
        "blended": background,
    }
    clips = {name: clips[name] for name in layout.names}
    back = from_model(to_model(clips, layout), layout)
    assert set(back) == set(layout.names)
    assert all((back[name] - clips[name]).abs().max() < 1e-5 for name in clips)


def test_foreground_without_alpha_is_refused(layers):
    with pytest.raises(FrameError, match="'alpha'"):
        to_model({"foreground": layers[0]}, find_layout("fg2bg_rgba"))


def test_checkerboard_has_two_greys():
    assert checkerboard(16, 16).unique().numel() == 2
