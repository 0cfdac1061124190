"""A short run of the user's own model, whose layers are looked at for what goes wrong on cards: black and NaN."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor

from ..inference import LoadOptions, load_for_inference
from ..layers import LayerVideo
from ..layout import ALPHA
from ..model.loading import LayerFlowModel
from ..pipeline import Host, Run, SilentObserver, make_layers
from ..runtime.devices import OffloadingDevices
from ..runtime.precision import AUTO_PRECISION
from ..sampling.sampler import SamplerSettings
from .cases import Bench, Measurement, Reading
from .measuring import measured, wait_for

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
    stages = _Stages(bench)
    stages.stage("loading")
    model = load_for_inference(bench.checkpoint, bench.device, options, lambda _: bench.parts)
    host = Host(stages, OffloadingDevices(bench.device))
    with measured(bench.device) as measure:
        layers = make_layers(model, _run_of(model), host)
    stages.stage("")
    peak = "-" if measure.peak is None else f"{measure.peak / 1024**3:.2f}"
    problem = "; ".join(problems_of(layers))
    return Reading((peak, str(stages)), problem, bool(problem))


def _run_of(model: LayerFlowModel) -> Run:
    """Generation where the model does that; else with grey clips given, which is enough to see it run."""
    layout = model.config.layout
    given = {} if model.config.unified else _grey(model)
    prompts = {name: PROMPTS[name] for name in layout.texts if name in PROMPTS}
    return Run(prompts, given, SamplerSettings(STEPS))


def _grey(model: LayerFlowModel) -> dict[str, Tensor]:
    import torch

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


class _Stages(SilentObserver):
    """Seconds of each stage."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._began: list[tuple[str, float]] = []

    def stage(self, name: str) -> None:
        wait_for(self._bench.device)
        self._began.append((name, time.perf_counter()))

    def __str__(self) -> str:
        pairs = zip(self._began, self._began[1:])
        return ", ".join(f"{name} {end - start:.1f}" for (name, start), (_, end) in pairs)
