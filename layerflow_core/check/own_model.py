"""A short run of the user's own model, whose layers are looked at for what goes wrong on cards: black and NaN."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..inference import LoadOptions, load_for_inference
from ..layers import LayerVideo
from ..layout import ALPHA
from ..model.loading import LayerFlowModel
from ..pipeline import Host, Run, make_layers
from ..runtime.devices import OffloadingDevices
from ..runtime.precision import AUTO_PRECISION
from ..sampling.sampler import SamplerSettings
from .cases import Bench, Measurement, Reading
from .measuring import StageTimes, gib, measured

STEPS = 4
PROMPTS = {
    "foreground": "a white dog runs over the grass",
    "background": "a lawn before a wooden fence",
    "blended": "a white dog runs over a lawn before a wooden fence",
}
_FLAT = 1 / 255  # standard deviation of a clip that shows nothing


def own_model(bench: Bench) -> Iterator[Measurement]:
    """Nothing where no model was named."""
    if bench.checkpoint is None:
        return
    for precision in (AUTO_PRECISION, "fp8"):
        yield f"{STEPS} steps, {precision}", lambda precision=precision: _run_once(bench, precision)


def _run_once(bench: Bench, precision: str) -> Reading:
    options = LoadOptions(precision)
    stages = StageTimes(bench.device)
    stages.stage("loading")
    model = load_for_inference(bench.checkpoint, bench.device, options, lambda _: bench.parts)
    host = Host(stages, OffloadingDevices(bench.device))
    with measured(bench.device) as measure:
        layers = make_layers(model, _run_of(model), host)
    problem = "; ".join(problems_of(layers))
    return Reading((gib(measure.peak), stages.end()), problem, bool(problem))


def _run_of(model: LayerFlowModel) -> Run:
    """Generation where the model does that; else with grey clips given, which is enough to see it run."""
    layout = model.config.layout
    given = {} if model.config.unified else _grey(model)
    prompts = {name: PROMPTS[name] for name in layout.texts if name in PROMPTS}
    return Run(prompts, given, SamplerSettings(STEPS))


def _grey(model: LayerFlowModel) -> dict[str, Tensor]:
    layout = model.config.layout
    height, width = model.frame_size
    clips = {}
    for name in layout.given_names:
        channels = 1 if layout.clip(name).kind == ALPHA else 3
        ramp = torch.linspace(0, 1, width).expand(layout.clip_pixel_frames, channels, height, width)
        clips[name] = ramp.contiguous()
    return clips


def problems_of(layers: LayerVideo) -> list[str]:
    """What is wrong with layers that no footage shows: numbers that are none, frames of one colour."""
    found = []
    for name, clip in layers.clips().items():
        if not bool(clip.isfinite().all()):
            found.append(f"{name} has NaN or infinite values")
        elif not name.endswith(ALPHA) and float(clip.std()) < _FLAT:
            found.append(f"{name} is of one colour, {float(clip.mean()):.2f} of 0..1")
    return found
