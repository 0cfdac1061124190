import pytest
import torch

from layerflow_core.errors import FrameError
from layerflow_core.layers import Foreground, LayerVideo, assemble_layers
from layerflow_core.layout import find_layout


def test_two_foregrounds_lie_one_over_the_other():
    red, green, blue = (torch.zeros(2, 3, 4, 4) for _ in range(3))
    red[:, 0], green[:, 1], blue[:, 2] = 1, 1, 1
    half, left = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, 1, 4, 4)
    left[..., :2] = 1
    video = LayerVideo(
        (Foreground("below", red, half), Foreground("above", green, left)), blue, None, 8
    )
    result = video.recompose()
    assert torch.equal(result[..., :2], green[..., :2])
    assert torch.equal(result[..., 2:], 0.5 * red[..., 2:] + 0.5 * blue[..., 2:])
    assert set(video.clips()) == {"below", "below.alpha", "above", "above.alpha", "background"}


def test_rgb_layout_has_no_alpha_and_counts_as_opaque():
    clips = {name: torch.rand(2, 3, 4, 4) for name in ("foreground", "background", "blended")}
    video = assemble_layers(clips, find_layout("gen_rgb"), 8)
    assert video.foregrounds[0].alpha is None
    assert torch.equal(video.alpha, torch.ones(2, 1, 4, 4))


def test_nothing_to_recompose_over():
    with pytest.raises(FrameError, match="background"):
        LayerVideo((Foreground("a", torch.rand(2, 3, 4, 4), None),), None, None, 8).recompose()
