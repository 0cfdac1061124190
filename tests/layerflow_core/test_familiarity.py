"""Warnings about prompts and footage that a model cannot know."""

import logging
from dataclasses import replace

import pytest
import torch

from layerflow_core.familiarity import reconstruction_error
from layerflow_core.footage import decompose, fit_given
from layerflow_core.layout import BACKGROUND, FOREGROUND
from layerflow_core.pipeline import Run, make_layers
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.evaluation import FIRST_SEED
from layerflow_core.toy.world import draw_scene, render

ONE_STEP = SamplerSettings(1, "constant", 1.0)
WORDS = {"foreground": "a red solid star standing still", "background": "a night sky"}


@pytest.fixture
def warnings_of(caplog):
    """What the core warned of while something ran."""

    def collect(work) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "layerflow_core"):
            work()
        return [
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("layerflow_core")
        ]

    return collect


def camera_like(frames: int = 16, height: int = 64, width: int = 96) -> torch.Tensor:
    """Images with detail at every size, as a camera sees grass and leaves: 1/f noise, moving."""
    generator = torch.Generator().manual_seed(3)
    total = torch.zeros(3, height, width)
    for size in (2, 4, 8, 16, 32):
        noise = torch.randn(1, 3, size, size * 3 // 2, generator=generator)
        total += (
            torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")[0] / size**0.5
        )
    still = (0.5 + 0.2 * total).clamp(0, 1)
    return torch.stack([still.roll(number, -1) for number in range(frames)])


def test_an_unknown_word_is_named_once_for_all_windows(quick_model, warnings_of):
    video = render(draw_scene(5)).blended.repeat(2, 1, 1, 1)
    run = Run({**WORDS, "foreground": "a dog"}, {}, ONE_STEP)
    (warning,) = warnings_of(lambda: decompose(quick_model, video, run))
    assert (
        "'quick' does not know \"dog\"" in warning and "it knows" in warning and "circle" in warning
    )


def test_a_prompt_that_is_cut_is_named(quick_model, warnings_of):
    run = Run({**WORDS, "background": "a night sky " * 9}, {}, ONE_STEP)
    (warning,) = warnings_of(lambda: make_layers(quick_model, run))
    assert "the prompt for background has 30 tokens, the model reads 16" in warning


@pytest.mark.parametrize("size", [(64, 96), (128, 160)])
def test_footage_of_another_kind_is_named(embedded, warnings_of, size):
    video = torch.nn.functional.interpolate(camera_like(20), size)
    (warning,) = warnings_of(lambda: fit_given(embedded, {"blended": video}))
    assert warning.startswith("the blended footage is unlike anything")
    assert "official checkpoint" in warning


def test_footage_is_looked_at_once_for_all_windows(quick_model, warnings_of):
    limited = replace(quick_model, config=replace(quick_model.config, reconstruction_limit=1e-6))
    video = camera_like(20)
    (warning,) = warnings_of(lambda: decompose(limited, video, Run(WORDS, {}, ONE_STEP)))
    assert warning.startswith("the blended footage is unlike anything")


def test_footage_of_its_own_world_is_not(embedded, warnings_of):
    for number in range(12):
        true = render(draw_scene(FIRST_SEED + number, held_out=True))
        for frames in (true.blended, true.background):
            assert reconstruction_error(embedded.vae, frames) < embedded.config.reconstruction_limit
    assert warnings_of(lambda: fit_given(embedded, {"blended": true.blended})) == []


def test_a_given_background_is_looked_at_and_a_foreground_is_not(embedded, warnings_of):
    camera = camera_like()
    assert len(warnings_of(lambda: fit_given(embedded, {BACKGROUND: camera}))) == 1
    matte = torch.zeros(16, 1, 64, 96)
    assert warnings_of(lambda: fit_given(embedded, {FOREGROUND: camera, "alpha": matte})) == []


def test_a_checkpoint_without_a_limit_is_never_measured(embedded, warnings_of, monkeypatch):
    monkeypatch.setattr(
        "layerflow_core.familiarity.reconstruction_error", lambda *_: pytest.fail("measured")
    )
    official = replace(embedded, config=replace(embedded.config, reconstruction_limit=None))
    assert warnings_of(lambda: fit_given(official, {BACKGROUND: camera_like()})) == []


def test_the_check_costs_little(embedded):
    """One network call in its place: a run of 20 steps makes 20 and more, and decodes sixteen times as many frames."""
    from layerflow_core.toy.export import RECONSTRUCTION_LIMIT

    assert embedded.config.reconstruction_limit == RECONSTRUCTION_LIMIT
    seen = []
    hook = embedded.vae.vae.encoder.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].shape[2])
    )
    fit_given(embedded, {BACKGROUND: torch.rand(16, 3, 640, 960)})
    hook.remove()
    assert seen == [4]


def test_other_lengths_can_be_measured(embedded):
    for frames in (2, 3, 4, 5, 50):
        assert 0 < reconstruction_error(embedded.vae, torch.rand(frames, 3, 64, 96)) < 1
