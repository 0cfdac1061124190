import copy
import hashlib
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import Cancelled, FrameError, LayoutError, PromptError, SamplingError
from layerflow_core.layout import find_layout
from layerflow_core.model.vae import STREAMED, LayerVAE
from layerflow_core.pipeline import (
    Host,
    Run,
    SilentObserver,
    check_run,
    encode_given,
    known_clips,
    make_layers,
)
from layerflow_core.runtime.devices import InPlaceDevices
from layerflow_core.sampling.noise import POSTERIOR, NoiseSource
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene, render

SCENE = draw_scene(11, held_out=True)
TRUE = render(SCENE)
SDE = SamplerSettings(3, "dynamic", 6.0, "dpmpp_2m_sde")

GIVEN = {
    "generate": {},
    "decompose": {"blended": TRUE.blended},
    "foreground to background": {"foreground": TRUE.foreground, "alpha": TRUE.alpha},
    "background to foreground": {"background": TRUE.background.contiguous()},
    "clean plate to foreground and back": {
        "background": TRUE.background.contiguous(),
        "blended": TRUE.blended,
    },
}


def fingerprint(layers) -> str:
    return hashlib.sha256(
        b"".join(clip.numpy().tobytes() for clip in layers.clips().values())
    ).hexdigest()


class Recorder(SilentObserver):
    def __init__(self, stop_after=None):
        self.stages, self.steps, self.previews, self.stop_after = [], [], [], stop_after

    def stage(self, name):
        self.stages.append(name)

    def step(self, done, total, preview):
        self.steps.append((done, total))
        self.previews.append(preview())
        if done == self.stop_after:
            raise Cancelled("stopped")


@pytest.mark.parametrize("task", GIVEN)
def test_every_task(quick_model, quick, task):
    given = GIVEN[task]
    layers = make_layers(quick_model, Run(SCENE.prompts, given, quick, 1))
    for name, clip in layers.clips().items():
        channels = 1 if name.endswith("alpha") else 3
        assert clip.shape == (16, channels, 64, 96) and clip.dtype == torch.float32
        assert 0 <= clip.min() and clip.max() <= 1
    named = {
        "foreground": layers.foreground,
        "alpha": layers.alpha,
        "background": layers.background,
        "blended": layers.blended,
    }
    assert all(torch.equal(named[name], pixels) for name, pixels in given.items()), (
        "a given layer was changed"
    )
    assert layers.fps == 8


def test_same_seed_same_bits_also_after_a_cancelled_run(quick_model):
    run = Run(SCENE.prompts, {}, SDE, 5)
    first = fingerprint(make_layers(quick_model, run))
    with pytest.raises(Cancelled):
        make_layers(quick_model, run, Host(Recorder(stop_after=2)))
    make_layers(quick_model, replace(run, seed=6, settings=SamplerSettings(2)))
    assert fingerprint(make_layers(quick_model, run)) == first
    assert fingerprint(make_layers(quick_model, replace(run, seed=6))) != first


def test_same_seed_same_bits_in_a_new_process(quick_model, quick_checkpoint):
    code = f"""
import hashlib, torch
from pathlib import Path
torch.set_num_threads({torch.get_num_threads()})
from layerflow_core.model.loading import load_model
from layerflow_core.pipeline import Host, Run, make_layers
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene, render
scene = draw_scene(11, held_out=True)
run = Run(scene.prompts, {{"blended": render(scene).blended}}, SamplerSettings(3, "dynamic", 6.0, "dpmpp_2m_sde"), 5)
layers = make_layers(load_model(Path({str(quick_checkpoint)!r})), run)
print(hashlib.sha256(b"".join(c.numpy().tobytes() for c in layers.clips().values())).hexdigest())
"""
    here = fingerprint(make_layers(quick_model, Run(SCENE.prompts, GIVEN["decompose"], SDE, 5)))
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    assert here == there


def test_observer_sees_stages_steps_and_previews(quick_model):
    seen = Recorder()
    make_layers(quick_model, Run(SCENE.prompts, {}, SDE, 0), Host(seen))
    assert seen.stages == ["encode", "text", "sample", "decode"]
    assert seen.steps == [(1, 3), (2, 3), (3, 3)]
    assert all(p.shape == (3, 16, 4 * 24) and 0 <= p.min() and p.max() <= 1 for p in seen.previews)


def test_preview_looks_like_the_layers(embedded):
    """Given layers stand in the preview; their places must show their colours."""
    seen = Recorder(stop_after=1)
    run = Run(SCENE.prompts, GIVEN["decompose"], SamplerSettings(1), 0)
    with pytest.raises(Cancelled):
        make_layers(embedded, run, Host(seen))
    shown = seen.previews[-1][:, :, 72:]
    true = torch.nn.functional.adaptive_avg_pool2d(TRUE.blended[8:12].mean(0), (16, 24))
    assert (shown - true).abs().mean() < 0.1


def test_cancel_stops_within_the_step(quick_model):
    seen = Recorder(stop_after=1)
    with pytest.raises(Cancelled):
        make_layers(quick_model, Run(SCENE.prompts, {}, SDE, 0), Host(seen))
    assert seen.steps == [(1, 3)] and "decode" not in seen.stages


@pytest.mark.parametrize("given", [(), ("blended",)], ids=["decoding", "encoding"])
def test_cancel_stops_inside_the_vae(quick_model, quick, given):
    """Between two blocks of it: a true-size decode takes minutes on a small card."""

    class Impatient(Recorder):
        pauses = 0

        def pause(self):
            self.pauses += 1
            if self.pauses == 2:
                raise Cancelled("stopped")

    seen = Impatient()
    run = Run(SCENE.prompts, {name: TRUE.blended for name in given}, quick, 0)
    with pytest.raises(Cancelled):
        make_layers(quick_model, run, Host(seen))
    assert seen.pauses == 2
    assert seen.stages[-1] == ("encode" if given else "decode")
    hooks = [module._forward_pre_hooks for module in quick_model.vae.vae.modules()]
    assert not any(hooks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_values_that_are_no_numbers_stop_the_run_and_name_the_precision(quick_model, quick, dtype):
    network = copy.deepcopy(quick_model.network).to(dtype)
    network.backbone.proj_out.bias.data[0] = float("inf")
    model = replace(quick_model, network=network)
    seen = Recorder()
    words = "bf16 instead of fp16, else fp32" if dtype == torch.float16 else "a LoRA .* damaged"
    with pytest.raises(SamplingError, match=f"NaN .* the latents of step 1 of 2.*{words}"):
        make_layers(model, Run(SCENE.prompts, {}, quick, 0), Host(seen))
    assert seen.steps == []


def test_frames_that_are_no_numbers_stop_the_run(quick_model, quick):
    vae = copy.deepcopy(quick_model.vae.vae)
    vae.decoder.conv_out.conv.bias.data[:] = float("nan")
    model = replace(quick_model, vae=LayerVAE(vae))
    with pytest.raises(SamplingError, match="NaN or infinite values in the VAE's frames"):
        make_layers(model, Run(SCENE.prompts, {}, quick, 0))


def test_every_part_is_released_also_when_cancelled(quick_model):
    class Ledger(InPlaceDevices):
        def __init__(self):
            self.out, self.used = [], []

        def use(self, part, beside):
            self.out.append(part)
            self.used.append(part)

        def release(self, part):
            self.out.remove(part)

    ledger = Ledger()
    with pytest.raises(Cancelled):
        make_layers(
            quick_model,
            Run({"foreground": "a text that nobody encoded yet"}, {}, SDE, 0),
            Host(Recorder(stop_after=1), ledger),
        )
    assert ledger.out == [] and quick_model.network in ledger.used
    make_layers(quick_model, Run(SCENE.prompts, {}, SamplerSettings(1), 0), Host(devices=ledger))
    assert ledger.out == [] and {id(p) for p in ledger.used} == {
        id(quick_model.text.t5),
        id(quick_model.vae.vae),
        id(quick_model.network),
    }


def test_given_latents_are_those_of_the_true_stack(quick_model):
    """With clips encoded one by one, what stands in for the unknown ones cannot be seen."""
    layout = quick_model.config.layout.with_given("blended")
    alone = encode_given(
        quick_model, layout, GIVEN["decompose"], NoiseSource(0).generator(POSTERIOR)
    )
    assert alone.shape == (1, 4, 8, 16, 24)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"prompts": {}}, PromptError, "no prompts"),
        ({"prompts": {"sky": "blue"}}, PromptError, "sky"),
        (
            {"given": {"blended": torch.rand(16, 3, 32, 96)}},
            FrameError,
            r"\(16, 32, 96\).*\(16, 64, 96\)",
        ),
        ({"given": {"blended": torch.rand(15, 3, 64, 96)}}, FrameError, r"\(15, 64, 96\)"),
        ({"given": {"blended": torch.rand(1, 3, 64, 96)}}, FrameError, "1 frames"),
        ({"given": {"blended": torch.rand(0, 3, 64, 96)}}, FrameError, "0 frames"),
        ({"given": {"blended": torch.full((16, 3, 64, 96), float("nan"))}}, FrameError, "NaN"),
        ({"given": {"foreground": TRUE.foreground}}, FrameError, "without 'alpha'"),
        (
            {"given": {"foreground": TRUE.foreground, "alpha": TRUE.alpha[:8]}},
            FrameError,
            r"\(8, 64, 96\)",
        ),
        ({"given": {"shadow": TRUE.blended}}, LayoutError, "shadow"),
        (
            {
                "given": {
                    "foreground": TRUE.foreground,
                    "alpha": TRUE.alpha,
                    "background": TRUE.background,
                    "blended": TRUE.blended,
                }
            },
            LayoutError,
            "generate",
        ),
        ({"seed": -1}, SamplingError, "seed"),
    ],
)
def test_bad_input_is_refused_before_any_work(quick_model, change, error, message):
    seen = Recorder()
    with pytest.raises(error, match=message):
        make_layers(quick_model, replace(Run(SCENE.prompts, {}, SDE, 0), **change), Host(seen))
    assert seen.stages == []


def test_a_checkpoint_of_one_task_refuses_another(quick_model):
    from layerflow_core.layout import find_layout

    for_one_task = replace(
        quick_model,
        config=replace(quick_model.config, unified=False, layout=find_layout("seg_rgba")),
    )
    with pytest.raises(LayoutError, match="blended"):
        check_run(for_one_task, Run(SCENE.prompts, {}, SDE))


def test_a_given_scene_is_not_decoded_again(quick_model, quick, monkeypatch):
    """A quarter of the stack, and no other layer changes."""
    decode = LayerVAE.decode
    lengths = []

    def streamed(known_too):
        def call(self, latents, layout, mode, known):
            clips = decode(self, latents, layout, STREAMED, known if known_too else ())
            lengths.append(sum(map(len, clips.values())))
            return clips

        return call

    scene = draw_scene(3)
    run = Run(scene.prompts, {"blended": render(scene).blended}, quick)
    made = []
    for known_too in (False, True):
        monkeypatch.setattr(LayerVAE, "decode", streamed(known_too))
        made.append(make_layers(quick_model, run).clips())
    assert lengths == [64, 48]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_the_alpha_of_a_drawn_foreground_is_decoded_with_it():
    layout = find_layout("unified_rgba")
    frames = torch.zeros(16, 1, 8, 8)
    assert set(known_clips({"alpha": frames, "blended": frames}, layout)) == {"blended"}
    assert set(known_clips({"alpha": frames, "foreground": frames}, layout)) == {
        "alpha",
        "foreground",
    }
