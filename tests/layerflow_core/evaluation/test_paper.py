from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.measures import MEASURES, measure_sample
from layerflow_core.evaluation.paper import consistency, is_dynamic, largest_motion
from layerflow_core.evaluation.sample import Sample

from .scenes import make_layers

LAYERS = make_layers(16)
PROMPTS = {"foreground": "a red disc", "background": "stripes"}


class _Flow:
    """Every pixel moves as far as the first frame's first pixel is bright."""

    def between(self, first, second):
        flow = torch.zeros(2, *first.shape[2:])
        flow[0] = first[0, 0, 0, 0] / 255 * 20
        return flow


class _Means:
    """The mean colour as a feature."""

    def encode(self, frames):
        return torch.nn.functional.normalize(frames.mean((2, 3)), dim=1)


class _Brightness:
    def score(self, features):
        return features[:, 0]


class _Words:
    def score(self, frames, text):
        return len(text) / 100


NETWORKS = SimpleNamespace(
    flow=_Flow(),
    clip_l14=_Means(),
    clip_b32=_Means(),
    dino=_Means(),
    aesthetic=_Brightness(),
    text_alignment=_Words(),
)


def measure(name, layers=LAYERS, prompts=PROMPTS):
    return MEASURES[name].measure(Sample(layers, None, prompts, NETWORKS))


def test_consistency_is_likeness_to_the_last_and_to_the_first():
    features = torch.eye(3)[[0, 0, 1]]
    assert consistency(features) == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert consistency(torch.tensor([[1.0, 0], [-1, 0]])) == 0, "never below 0"
    back = torch.eye(2)[[0, 1, 0]]
    assert consistency(back) == pytest.approx((0 + 0 + 0 + 1) / 4)


def test_motion_is_that_of_the_fastest_twentieth():
    flow = torch.zeros(2, 10, 20)
    flow[:, 0, :5] = torch.tensor([3.0, 4.0]).view(2, 1)
    assert largest_motion(flow) == pytest.approx(5 * 5 / 10)


@pytest.mark.parametrize(
    "moving, frames, side, expected",
    [(4, 16, 480, True), (3, 16, 480, False), (12, 49, 480, True), (11, 49, 480, False)],
)
def test_a_clip_is_dynamic_when_enough_pairs_are(moving, frames, side, expected):
    motions = [11.26] * moving + [11.24] * (frames - 1 - moving)
    assert is_dynamic(motions, frames, side) is expected


def test_dynamic_degree_looks_at_eight_frames_a_second():
    bright = replace(LAYERS, background=torch.ones_like(LAYERS.background))
    assert measure("dynamic_degree_background", bright) == 1
    dark = torch.ones_like(LAYERS.background)
    dark[::3] = 0
    rarely = replace(LAYERS, background=dark, fps=24)
    assert measure("dynamic_degree_background", rarely) == 0


def test_a_prompt_belongs_to_its_layer():
    assert measure("text_alignment_foreground") == pytest.approx(0.10)
    assert measure("text_alignment_background") == pytest.approx(0.07)
    with pytest.raises(EvaluationError, match="there is no prompt for blended"):
        measure("text_alignment_blended")


def test_grounds_change_what_a_foreground_looks_like():
    assert measure("aesthetic_quality_spread") > 0.01
    opaque = replace(LAYERS.foregrounds[0], alpha=torch.ones_like(LAYERS.alpha))
    whole = replace(LAYERS, foregrounds=(opaque,))
    assert measure("aesthetic_quality_spread", whole) == pytest.approx(0, abs=1e-6)
    assert measure("dino_consistency_background") == pytest.approx(1)
    assert measure("clip_consistency_blended") < 1


def test_one_frame_is_left_out_where_frames_are_compared():
    names = [name for name, row in MEASURES.items() if row.needs_network and not row.needs_truth]
    figures = measure_sample(Sample(make_layers(1), None, PROMPTS, NETWORKS), names)
    assert "aesthetic_quality_foreground" in figures.values
    assert "got one frame" in figures.left_out["dino_consistency_foreground"]
    assert "got one frame" in figures.left_out["dynamic_degree_blended"]
