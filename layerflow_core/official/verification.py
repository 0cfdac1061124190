"""Checks this implementation against recorded outputs of the official code, through the classes the pipeline uses.

A fixture is ``X.json`` with ``X.safetensors`` (and ``X.ckpt.safetensors`` for a network), of one of three kinds:
a variant (single calls and a whole trajectory), a sampler around an affine network, or preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval, Len
from torch import Tensor

from ..errors import CheckpointError, LayoutError
from ..model.loading import LayerFlowModel, build_network, load_model
from ..pipeline import predictor
from ..plain_data import Count, Finite, Name, as_record, read_json
from ..rgba import over_grey
from ..sampling.sampler import SamplerSettings, denoise, sample
from ..sampling.schedule import MOST_STEPS, Schedule
from ..video.frames import cover
from ..weights.checkpoint import CONFIG_KEY
from ..weights.tensor_file import SafetensorsFile, read_tensors
from .conversion import open_official
from .keys import from_official
from .variants import read_config

Tensors = dict[str, Tensor]
GOLDEN = Path(__file__).parent / "golden"
"""Fixtures that come with this package: three variants, the sampler, preprocessing."""
_CPU = torch.device("cpu")
_Size = Annotated[int, Interval(ge=1, le=4096)]


@dataclass(frozen=True)
class FixtureSize:
    """Dimensions that no shape of a checkpoint tells."""

    latent_height: _Size
    latent_width: _Size
    tokens_per_text: _Size


@dataclass(frozen=True)
class FixtureSequence:
    condition_frames: Annotated[list[Count], Len(0, 1000)]


@dataclass(frozen=True)
class Probe:
    """A single call of the network."""

    timestep: Annotated[int, Interval(ge=0, le=999)]


@dataclass(frozen=True)
class FixtureSampling:
    num_steps: Annotated[int, Interval(ge=1, le=MOST_STEPS)]
    guidance_scale: Finite


@dataclass(frozen=True)
class VariantFixture:
    """What ``X.json`` says of calls and a trajectory of one official checkpoint."""

    variant: Name
    network: FixtureSize
    sequence: FixtureSequence
    probes: Annotated[list[Probe], Len(0, 1000)]
    sampling: FixtureSampling


@dataclass(frozen=True)
class Affine:
    """A network that can be written down."""

    gain: Finite
    gain_channel: Finite
    bias: Finite
    bias_time: Finite
    bias_frame: Finite


@dataclass(frozen=True)
class SamplerFixture:
    """What ``X.json`` says of a run of the sampler around affine networks."""

    num_steps: Annotated[int, Interval(ge=1, le=MOST_STEPS)]
    guidance_scale: Finite
    uncond: Affine
    cond: Affine


@dataclass(frozen=True)
class PreprocessCase:
    i: Count


@dataclass(frozen=True)
class PreprocessFixture:
    """What ``X.json`` says of preprocessed clips."""

    target_height: _Size
    target_width: _Size
    cases: Annotated[list[PreprocessCase], Len(0, 1000)]


@dataclass(frozen=True)
class _Where:
    """What a fixture's network computes on, and in."""

    device: torch.device
    dtype: torch.dtype


class _Recorded(dict):
    """Recorded tensors by key."""

    def __missing__(self, key: str) -> Tensor:
        raise CheckpointError(f"the fixture's tensors lack {key}: the file is incomplete")


@dataclass(frozen=True)
class Verdict:
    """Largest absolute error per group of keys of one fixture; groups are named like ``v_cond`` or ``latents``."""

    fixture: str
    errors: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.fixture:14s} " + "  ".join(
            f"{group} {error:.1e}" for group, error in self.errors.items()
        )


def verify_folder(
    folder: Path,
    out: Path | None = None,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Verdict]:
    """Run every fixture of a folder; write own results under the fixture's keys to ``out/X.safetensors``.

    Args:
        device, dtype: where and in which networks compute; what a fixture records of other things is computed on
            the CPU in float32.

    Raises:
        CheckpointError: the folder holds no fixture, or one is damaged.
    """
    from safetensors.torch import save_file

    descriptions = sorted(folder.glob("*.json"))
    if not descriptions:
        raise CheckpointError(f"{folder} holds no fixtures, expected X.json beside X.safetensors")
    for path in descriptions:
        results, recorded = run_fixture(path, device, dtype)
        if out:
            out.mkdir(parents=True, exist_ok=True)
            save_file(
                {k: v.contiguous() for k, v in results.items()},
                str(out / f"{path.stem}.safetensors"),
            )
        yield verdict_of(path.stem, results, recorded)


def run_fixture(
    path: Path, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> tuple[Tensors, Tensors]:
    """(own results, recorded tensors) of one fixture by its json; its network computes on ``device`` in ``dtype``."""
    data = read_json(path, CheckpointError)
    tensors, _ = read_tensors(path.with_suffix(".safetensors"))
    recorded = _Recorded(tensors)
    kind = data.get("kind", "variant") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise CheckpointError(
            f"{path} is a fixture of kind {kind!r}, expected one of {', '.join(_KINDS)}"
        )
    record, run = _KINDS[kind]
    description = as_record(record, data, str(path), CheckpointError)
    with torch.inference_mode():
        return run(path, description, recorded, _Where(device, dtype)), recorded


def load_fixture_model(path: Path, description: VariantFixture) -> LayerFlowModel:
    """A fixture's checkpoint, in official key layout or in ours, as a model without text encoder and VAE."""
    if CONFIG_KEY in SafetensorsFile(path).metadata:
        return load_model(path)
    file, network = open_official(path), description.network
    config = read_config(
        file.specs,
        description.variant,
        (network.latent_height, network.latent_width),
        network.tokens_per_text,
    )
    return LayerFlowModel(
        config, build_network(config, from_official(file.read(file.specs), config)), source=path
    )


def _run_variant(
    path: Path, description: VariantFixture, recorded: Tensors, where: _Where
) -> Tensors:
    model = load_fixture_model(path.with_name(f"{path.stem}.ckpt.safetensors"), description)
    layout = model.config.layout
    if list(layout.given_frames) != description.sequence.condition_frames:
        raise LayoutError(
            f"{path}: got condition frames {description.sequence.condition_frames}, layout "
            f"{layout.name!r} has {list(layout.given_frames)}"
        )
    context = recorded["in.context"].flatten(0, 1)[None]
    device = where.device
    model.network.to(device, where.dtype)
    given = layout.given_of(recorded["in.z_full"])
    computed = predictor(model, layout, context, None if given is None else given.to(device))

    def predict(x: Tensor, timestep: int, guided: bool = True) -> tuple[Tensor | None, Tensor]:
        v_uncond, v_cond = computed(x.to(device), timestep, guided)
        return (None if v_uncond is None else v_uncond.cpu().float()), v_cond.cpu().float()

    return _run_probes(model, predict, description, recorded) | _run_trajectory(
        model, predict, description, recorded
    )


def _run_probes(
    model: LayerFlowModel, predict: Callable, description: VariantFixture, recorded: Tensors
) -> Tensors:
    results, table = {}, Schedule(model.config.schedule).denoiser_table
    for probe in description.probes:
        t = probe.timestep
        x, name = recorded[f"probe.{t}.x"], f"probe.{t}"
        v_uncond, v_cond = predict(x, t)
        q = float(table[t])
        own = {
            "v_uncond": v_uncond,
            "v_cond": v_cond,
            "x0_uncond": denoise(v_uncond, x, q),
            "x0_cond": denoise(v_cond, x, q),
        }
        if f"{name}.v_cond_motion1" in recorded:
            model.set_strengths(motion=1.0)
            own["v_cond_motion1"] = predict(x, t)[1]
            model.set_strengths()
        results |= {
            f"{name}.{key}": value for key, value in own.items() if f"{name}.{key}" in recorded
        }
    return results


def _run_trajectory(
    model: LayerFlowModel, predict: Callable, description: VariantFixture, recorded: Tensors
) -> Tensors:
    results: Tensors = {}
    settings = SamplerSettings(
        description.sampling.num_steps, "dynamic", description.sampling.guidance_scale
    )
    final = sample(
        predict,
        recorded["traj.init_noise"],
        lambda i: recorded[f"traj.{i}.noise"],
        Schedule(model.config.schedule),
        settings,
        lambda step, x, x0: results.update({f"traj.{step.index}.latents": x.clone()}),
    )
    layout = model.config.layout
    return results | {
        "traj.full_latents": layout.join(final, layout.given_of(recorded["in.z_full"]))
    }


def _run_sampler(
    path: Path, description: SamplerFixture, recorded: Tensors, where: _Where
) -> Tensors:
    results: Tensors = {}

    def affine(x: Tensor, t: int, c: Affine) -> Tensor:
        frame = torch.arange(x.shape[1]).view(1, -1, 1, 1, 1)
        channel = torch.arange(x.shape[2]).view(1, 1, -1, 1, 1)
        return (
            (c.gain + c.gain_channel * channel) * x
            + c.bias
            + c.bias_time * t / 1000
            + c.bias_frame * frame
        )

    sample(
        lambda x, t, guided: (affine(x, t, description.uncond), affine(x, t, description.cond)),
        recorded["init_noise"],
        lambda i: recorded[f"{i}.noise"],
        Schedule(),
        SamplerSettings(description.num_steps, "dynamic", description.guidance_scale),
        lambda step, x, x0: results.update(
            {f"{step.index}.latents": x.clone(), f"{step.index}.x0": x0.clone()}
        ),
    )
    return results


def _run_preprocess(
    path: Path, description: PreprocessFixture, recorded: Tensors, where: _Where
) -> Tensors:
    height, width = description.target_height, description.target_width
    results = {}
    for case in description.cases:
        i = case.i
        rgb = recorded[f"{i}.rgb"].permute(0, 3, 1, 2).float() / 255
        mask = recorded[f"{i}.mask"][:, None].float() / 255
        clips = {
            "fg": over_grey(rgb, mask),
            "bl": rgb * 2 - 1,
            "alpha": (mask * 2 - 1).expand(-1, 3, -1, -1),
        }
        results |= {f"{i}.{name}": cover(clip, height, width) for name, clip in clips.items()}
    return results


_KINDS: Mapping[str, tuple[type, Callable[[Path, Any, Tensors, _Where], Tensors]]] = {
    "variant": (VariantFixture, _run_variant),
    "sampler": (SamplerFixture, _run_sampler),
    "preprocess": (PreprocessFixture, _run_preprocess),
}


def verdict_of(fixture: str, results: Tensors, recorded: Tensors) -> Verdict:
    """What ``run_fixture`` found, compared."""
    errors: dict[str, float] = {}
    for key, value in results.items():
        if key in recorded:
            group = key.rsplit(".", 1)[-1]
            errors[group] = max(
                errors.get(group, 0.0), float((value.float() - recorded[key].float()).abs().max())
            )
    return Verdict(fixture, errors)
