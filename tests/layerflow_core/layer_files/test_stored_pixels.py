import pytest
import torch

from layerflow_core.layer_files.stored_pixels import (
    ALPHA_KINDS,
    PREMULTIPLIED,
    bias,
    foreground_frames,
    unbias,
)
from layerflow_core.layers import Foreground


def test_a_residual_is_stored_within_the_range_and_comes_back():
    residual = torch.linspace(-1, 1, 21)
    stored = bias(residual)
    assert stored.min() == 0 and stored.max() == 1 and bias(torch.zeros(1)) == 0.5
    assert torch.allclose(unbias(stored), residual, atol=1e-6)


@pytest.mark.parametrize("kind", ALPHA_KINDS)
def test_colour_is_multiplied_where_it_is_said(kind):
    colour = torch.rand(2, 3, 4, 4)
    alpha = torch.rand(2, 1, 4, 4)
    frames = torch.stack(list(foreground_frames(Foreground("dog", colour, alpha), kind)))
    expected = colour * alpha if kind == PREMULTIPLIED else colour
    assert torch.allclose(frames[:, :3], expected) and torch.equal(frames[:, 3:], alpha)


def test_a_layer_without_alpha_is_opaque():
    (frame,) = foreground_frames(Foreground("dog", torch.rand(1, 3, 4, 4), None), PREMULTIPLIED)
    assert frame.shape == (4, 4, 4) and frame[3].min() == 1
