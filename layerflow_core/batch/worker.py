"""Shots at work: a model that stays loaded from one shot to the next."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from ..atomic import replacing_folder
from ..errors import LayerFlowError
from ..footage import Condition, decompose, fit_conditions
from ..inference import LoadOptions, load_for_inference
from ..layer_files.extras import EXTRAS, FRAMES
from ..layer_files.saving import SaveOptions, replace_layers
from ..layers import LayerVideo
from ..layout import BLENDED, FOREGROUND
from ..model.loading import LayerFlowModel
from ..options import read_device
from ..pipeline import Host, Observer, Run, SilentObserver, make_layers
from ..run_record import describe_run
from ..runtime.devices import OffloadingDevices
from ..runtime.latent_store import LatentStore
from ..runtime.out_of_memory import empty_caches
from ..sampling.sampler import SamplerSettings
from ..video.files import read_video, read_with_matte
from ..weights.components import Components
from .shots import CONDITION, DECOMPOSE, GENERATE, INPUTS, Shot, hash_path

DONE = "done"
FAILED = "failed"
# What files, kernels and drivers raise; a batch goes on with its next shot.
FAILURES = (LayerFlowError, RuntimeError, ValueError, OSError, MemoryError, ArithmeticError)


@dataclass(frozen=True)
class ShotTask:
    """A shot, and the hash of its inputs."""

    shot: Shot
    inputs: str


@dataclass(frozen=True)
class ShotResult:
    """What came of a shot.

    Args:
        state: ``DONE`` or ``FAILED``.
        message: why it failed.
        process: number of the process that ran it.
    """

    number: int
    state: str
    seconds: float = 0.0
    message: str = ""
    process: int = 0


class Worker(Protocol):
    """Who runs shots, one after the other."""

    def run(self, task: ShotTask) -> ShotResult:
        """Never raises for what is wrong with one shot."""


@dataclass(frozen=True)
class ModelOptions:
    """How checkpoints become models, on this machine or another.

    Args:
        device: as on the command line.
        parts: those that checkpoints lack.
        threads: of torch on a CPU; 0 leaves its own choice.
    """

    device: str = "auto"
    how: LoadOptions = LoadOptions()
    parts: Components = Components()
    threads: int = 0

    def load(self, path: Path) -> LayerFlowModel:
        """Raises LayerFlowError, see ``load_for_inference``."""
        return load_for_inference(path, read_device(self.device), self.how, lambda _: self.parts)

    def describe(self) -> str:
        """All of it that layers depend on; files by their bytes."""
        loras = [(hash_path(path), strength) for path, strength in self.how.loras]
        named = vars(self.parts)
        parts = {name: hash_path(path) for name, path in named.items() if path is not None}
        return f"{replace(self.how, loras=())} {loras} {sorted(parts.items())}"


@dataclass(frozen=True)
class Made:
    """Layers, the run that made them, and the footage's frame rate if there was footage."""

    layers: LayerVideo
    run: Run
    fps: Fraction | None = None


class ShotWorker:
    """Runs shots on one device; the model of the last shot stays.

    Args:
        latents: folder where sampled latents wait for their decoding.
    """

    def __init__(
        self, options: ModelOptions, latents: Path, observer: Observer = SilentObserver()
    ) -> None:
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)
        self._options = options
        self._loaded: tuple[Path, LayerFlowModel] | None = None
        devices = OffloadingDevices(read_device(options.device))
        self._host = Host(observer, devices, LatentStore(latents))

    def run(self, task: ShotTask) -> ShotResult:
        """Layers into the shot's folder, whole or not at all."""
        shot = task.shot
        started = time.monotonic()
        state, message = DONE, ""
        try:
            self._make(task)
        except FAILURES as error:
            first = (str(error).strip().splitlines() or [""])[0]
            said = (
                first if isinstance(error, LayerFlowError) else f"{type(error).__name__}: {first}"
            )
            state, message = FAILED, said
            empty_caches()
        return ShotResult(shot.number, state, time.monotonic() - started, message, os.getpid())

    def _make(self, task: ShotTask) -> None:
        shot = task.shot
        made = _TASKS[shot.task](shot, lambda: self._model(shot.model), self._host)
        facts = describe_run(self._model(shot.model), made.run, shot.task)
        with replacing_folder(shot.folder) as partial:
            how = with_extras(shot.saving)
            facts |= {"shot": shot.name, INPUTS: task.inputs}
            replace_layers(partial, made.layers, how, made.fps, facts=facts)

    def _model(self, path: Path) -> LayerFlowModel:
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = None  # two of them may not fit
            empty_caches()
            self._loaded = (path, self._options.load(path))
        return self._loaded[1]


def with_extras(how: SaveOptions) -> SaveOptions:
    """With all that helps to look at layers beside them, as the commands save."""
    return replace(how, extras=tuple(name for name in EXTRAS if name != FRAMES))


_Load = Callable[[], LayerFlowModel]


def _settings(shot: Shot, model: LayerFlowModel, given: Sequence[str] = ()) -> SamplerSettings:
    return SamplerSettings(**{**model.sampler_for(given), **shot.sampler})


def _generate(shot: Shot, load: _Load, host: Host) -> Made:
    model = load()
    run = Run(shot.prompts, {}, _settings(shot, model), shot.seed)
    return Made(make_layers(model, run, host), run)


def _decompose(shot: Shot, load: _Load, host: Host) -> Made:
    footage = read_video(shot.video, selection=shot.selection)
    model = load()
    run = Run(shot.prompts, {}, _settings(shot, model, [BLENDED]), shot.seed)
    fps = float(footage.fps)
    layers = decompose(model, footage.colour, run, fps, shot.fit, shot.overlap, host)
    return Made(layers, run, footage.fps)


def _condition(shot: Shot, load: _Load, host: Host) -> Made:
    conditions = []
    rates = []
    for layer, path in shot.given.items():
        matte = shot.alpha if layer == FOREGROUND else None
        footage = read_with_matte(path, matte, shot.selection)
        conditions.append(Condition(layer, footage.colour, footage.alpha, shot.fit, shot.timing))
        rates.append(footage.fps)
    model = load()
    given = fit_conditions(model, conditions, host)
    run = Run(shot.prompts, given, _settings(shot, model, list(given)), shot.seed)
    return Made(make_layers(model, run, host), run, rates[0])


_TASKS: Mapping[str, Callable[[Shot, _Load, Host], Made]] = {
    GENERATE: _generate,
    DECOMPOSE: _decompose,
    CONDITION: _condition,
}
