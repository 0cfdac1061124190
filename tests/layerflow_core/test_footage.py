import pytest
import torch

from layerflow_core.errors import FrameError, PromptError
from layerflow_core.footage import decompose, fit_given, to_condition
from layerflow_core.layout import find_layout
from layerflow_core.pipeline import Host, Run, SilentObserver
from layerflow_core.toy.world import draw_scene, render

SCENE = draw_scene(11, held_out=True)
TRUE = render(SCENE)


class Recorder(SilentObserver):
    def __init__(self):
        self.steps = []

    def step(self, done, total, preview):
        self.steps.append((done, total))


@pytest.mark.parametrize(
    "frames, height, width", [(2, 64, 96), (16, 37, 51), (21, 64, 96), (20, 90, 61)]
)
def test_any_size_and_length_comes_back_as_it_went_in(quick_model, quick, frames, height, width):
    torch.manual_seed(0)
    video = torch.rand(frames, 3, height, width)
    layers = decompose(quick_model, video, Run(SCENE.prompts, {}, quick, 0), fps=23.976)
    assert torch.equal(layers.blended, video) and layers.fps == 23.976
    for name, clip in layers.clips().items():
        assert clip.shape == (frames, 1 if name.endswith("alpha") else 3, height, width), name
        assert 0 <= clip.min() and clip.max() <= 1 and clip.isfinite().all()


def test_windows_are_counted_as_one_run(quick_model, quick):
    seen = Recorder()
    decompose(
        quick_model, torch.rand(20, 3, 64, 96), Run(SCENE.prompts, {}, quick, 0), host=Host(seen)
    )
    assert seen.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_first_window_does_not_depend_on_what_follows(quick_model, quick):
    run = Run(SCENE.prompts, {}, quick, 0)
    alone = decompose(quick_model, TRUE.blended, run)
    longer = decompose(quick_model, torch.cat([TRUE.blended, TRUE.blended[:8]]), run, overlap=4)
    assert torch.allclose(longer.alpha[:8], alone.alpha[:8], atol=1e-5)


@pytest.mark.parametrize(
    "video, message",
    [
        (torch.rand(0, 3, 64, 96), "0 frames"),
        (torch.rand(1, 3, 64, 96), "1 frames"),
        (torch.full((16, 3, 64, 96), float("nan")), "NaN"),
        (torch.rand(16, 1, 64, 96), "expected frames"),
    ],
)
def test_bad_footage(quick_model, quick, video, message):
    with pytest.raises(FrameError, match=message):
        decompose(quick_model, video, Run(SCENE.prompts, {}, quick, 0))


def test_no_prompts(quick_model, quick):
    with pytest.raises(PromptError):
        decompose(quick_model, TRUE.blended, Run({}, {}, quick, 0))


@pytest.mark.parametrize("timing", ["first", "spread", "official"])
def test_given_layers_are_fitted(quick_model, timing):
    video = torch.rand(40, 3, 64, 96)
    fitted = fit_given(quick_model, {"background": video}, timing=timing)["background"]
    assert fitted.shape == (16, 3, 64, 96)
    if timing == "official":
        assert torch.equal(fitted[0], fitted[1]) and torch.equal(fitted[-1], video[14])
    elif timing == "first":
        assert torch.equal(fitted, video[:16])
    else:
        assert torch.equal(fitted[0], video[0]) and torch.equal(fitted[-1], video[-1])


def test_a_foreground_is_given_as_the_layout_wants_it():
    grey = TRUE.foreground * TRUE.alpha + 0.5 * (1 - TRUE.alpha)
    rgb = to_condition(find_layout("fg2bg_rgb"), "foreground", TRUE.foreground, TRUE.alpha)
    assert set(rgb) == {"foreground"} and torch.allclose(rgb["foreground"], grey, atol=1e-6)
    rgba = to_condition(find_layout("fg2bg_rgba"), "foreground", TRUE.foreground, TRUE.alpha)
    assert rgba["foreground"] is TRUE.foreground and rgba["alpha"] is TRUE.alpha
    assert set(to_condition(find_layout("bg2fg_rgba"), "background", TRUE.background, None)) == {
        "background"
    }
    with pytest.raises(FrameError, match="no alpha"):
        to_condition(find_layout("fg2bg_rgba"), "foreground", TRUE.foreground, None)
    with pytest.raises(FrameError, match="equal frames"):
        to_condition(find_layout("fg2bg_rgb"), "foreground", TRUE.foreground, TRUE.alpha[:3])


def test_given_layers_must_agree(quick_model):
    with pytest.raises(FrameError, match="different frames"):
        fit_given(quick_model, {"foreground": TRUE.foreground, "alpha": TRUE.alpha[:9]})
    with pytest.raises(FrameError, match="exactly 16"):
        fit_given(quick_model, {"background": TRUE.background[:9]}, timing="exact")
    with pytest.raises(FrameError, match="timing"):
        fit_given(quick_model, {"background": TRUE.background}, timing="slow")
