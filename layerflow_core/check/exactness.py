"""Whether a device computes what it should: the official code's recordings, and the embedded model on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import torch

from ..layers import LayerVideo
from ..model.loading import load_model
from ..official.verification import GOLDEN, run_fixture, verdict_of
from ..pipeline import Host, Run, make_layers
from ..runtime.devices import OffloadingDevices
from ..runtime.precision import name_of_dtype
from ..sampling.sampler import SamplerSettings
from ..toy.embedded import EMBEDDED
from .cases import PROMPTS, Bench, Measurement, Reading

_FLOAT = torch.float32
# Twice the largest errors that were seen on CPUs and one H200, of latents whose spread is about 1.
LIMITS_OF_RECORDINGS = {torch.float32: 1e-4, torch.float16: 6e-2, torch.bfloat16: 4e-1}
# Likewise, mean differences of a layer's pixels, 0 to 1.
LIMITS_OF_LAYERS = {torch.float32: 5e-4, torch.float16: 4e-3, torch.bfloat16: 2e-2}
STEPS = 8
_SEED = 3


def recordings(bench: Bench) -> Iterator[Measurement]:
    """Every fixture in every precision."""
    for dtype in LIMITS_OF_RECORDINGS:
        for path in sorted(GOLDEN.glob("*.ckpt.safetensors")):
            fixture = path.with_name(path.name.replace(".ckpt.safetensors", ".json"))
            name = f"{fixture.stem}, {name_of_dtype(dtype)}"
            yield name, partial(_compare_recording, fixture, bench.device, dtype)


def _compare_recording(fixture, device: torch.device, dtype: torch.dtype) -> Reading:
    results, recorded = run_fixture(fixture, device, dtype)
    largest = max(verdict_of(fixture.stem, results, recorded).errors.values())
    return limited(largest, LIMITS_OF_RECORDINGS[dtype])


def embedded_model(bench: Bench) -> Iterator[Measurement]:
    """The embedded model on the device against the CPU, in every precision."""
    expected: list[LayerVideo] = []

    def reference() -> LayerVideo:
        if not expected:
            expected.append(make_layers(load_model(EMBEDDED), _run()))
        return expected[0]

    for dtype in LIMITS_OF_LAYERS:
        if bench.device.type == "cpu" and dtype != _FLOAT:
            continue  # CPUs emulate them, which takes minutes
        yield name_of_dtype(dtype), partial(_compare_embedded, bench.device, dtype, reference)


def _compare_embedded(device: torch.device, dtype: torch.dtype, reference) -> Reading:
    expected = reference()
    model = load_model(EMBEDDED, dtype)
    started = time.perf_counter()
    found = make_layers(model, _run(), Host(devices=OffloadingDevices(device)))
    seconds = time.perf_counter() - started
    clips = zip(found.clips().values(), expected.clips().values())
    largest = max(float((ours - theirs).abs().mean()) for ours, theirs in clips)
    reading = limited(largest, LIMITS_OF_LAYERS[dtype])
    return Reading((*reading.cells, f"{seconds:.1f}"), reading.problem, reading.is_failure)


def _run() -> Run:
    return Run(PROMPTS, {}, SamplerSettings(STEPS), seed=_SEED)


def limited(error: float, limit: float) -> Reading:
    """A reading whose error must not exceed its limit; NaN does."""
    cells = (f"{error:.1e}", f"{limit:.0e}")
    if error <= limit:  # NaN is not
        return Reading(cells)
    return Reading(cells, f"got an error of {error:.1e}, expected {limit:.0e} at most", True)
