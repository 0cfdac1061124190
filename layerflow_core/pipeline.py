"""Prompts and given layers in, ``LayerVideo`` out: one function for every task, because a task is a layout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .errors import CheckpointError, FrameError, LayoutError, SamplingError
from .familiarity import warn_of_prompts
from .layers import LayerVideo, assemble_layers
from .layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND, Layout
from .model.loading import LayerFlowModel
from .model.step_cache import StepCache, cached_bytes
from .model.text import TextEncoder, check_prompts
from .model.vae import WHOLE, VaeMode, pausing
from .rgba import check_mattes, from_model, to_model
from .runtime.devices import Devices, InPlaceDevices
from .runtime.latent_store import LatentStore, name_run
from .runtime.parallel import SINGLE_PROCESS, ProcessGroup
from .runtime.placement import for_network, for_text, for_vae
from .runtime.precision import name_of_dtype
from .sampling.noise import POSTERIOR, NoiseSource
from .sampling.sampler import SamplerSettings, sample
from .sampling.schedule import Schedule, Step
from .video.frames import check_frames

_log = logging.getLogger(__name__)
# (x, timestep, guided, both branches in one call) -> (v_uncond, v_cond); otherwise a ``sampling.sampler.Predict``
PredictBranches = Callable[..., tuple[Tensor | None, Tensor]]

# What stands in for a clip that is neither given nor made yet, while the stack is encoded around the given ones. The
# official data does the same: its background is the footage where no clean one is known. Else a constant in -1..1.
_STAND_INS = {BACKGROUND: (BLENDED,), BLENDED: (BACKGROUND, FOREGROUND), FOREGROUND: (), ALPHA: ()}
_CONSTANTS = {ALPHA: -1.0}


class Observer(Protocol):
    """Who watches a run: progress bar, preview, cancel. Any method may raise to stop the run."""

    def stage(self, name: str) -> None:
        """A new stage begins: "text", "encode", "sample", "decode"."""

    def pause(self) -> None:
        """Called between two stretches of long work that has no steps, for a cancel."""

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        """A sampling step is done.

        Args:
            preview: draws the layers side by side as they stand now, [3, H, W] in 0..1; costs only when called.
        """


class SilentObserver:
    """Watches nothing."""

    def stage(self, name: str) -> None:
        pass

    def pause(self) -> None:
        pass

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        pass


@dataclass(frozen=True)
class Host:
    """What a run needs of its caller.

    Args:
        latents: where sampled latents wait for their decoding; None keeps them in memory alone. One of several
            processes alone, the first, may have one.
        group: processes that compute the run together.
    """

    observer: Observer = SilentObserver()
    devices: Devices = InPlaceDevices()
    latents: LatentStore | None = None
    group: ProcessGroup = SINGLE_PROCESS


@dataclass(frozen=True)
class Run:
    """One call of the model.

    Args:
        prompts: by layer name; the layout says which layers have one.
        given: by layer name, [N, 3, H, W] or alpha [N, 1, H, W], 0..1 straight, N and size as the model has them.
        settings: rows and numbers of the sampler; None takes what the checkpoint names as its own.
        seed, window: see ``NoiseSource``.
    """

    prompts: Mapping[str, str]
    given: Mapping[str, Tensor]
    settings: SamplerSettings
    seed: int = 0
    window: int = 0


def layout_for(model: LayerFlowModel, given: Iterable[str]) -> Layout:
    """The row that a run with these layers given, by name, uses.

    Raises:
        LayoutError: the checkpoint was not trained for it, or a layer is unknown.
    """
    names = tuple(given)
    layout = model.config.layout
    if model.config.unified:
        return layout.with_given(*names)
    for name in names:
        layout.clip(name)
    if set(names) != set(layout.given_names):
        raise LayoutError(
            f"got given layers {_list(names)}, expected {_list(layout.given_names)}: the checkpoint "
            f"({layout.name}) was trained to generate {layout.task}, and for nothing else; "
            "choose the checkpoint of this task"
        )
    return layout


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def make_layers(model: LayerFlowModel, run: Run, host: Host = Host()) -> LayerVideo:
    """Run the model. A pure function of model, run and seed.

    Raises:
        LayerFlowError: something does not fit; before any long work starts.
    """
    layout = check_run(model, run, host)
    if host.group.is_first:
        warn_of_prompts(model, layout, run.prompts)
    return make_checked_layers(model, layout, run, host)


def make_checked_layers(
    model: LayerFlowModel, layout: Layout, run: Run, host: Host = Host()
) -> LayerVideo:
    """``make_layers`` of a run that went through ``check_run``, which gave the layout.

    The windows of a long video are checked once, by the first of them.
    """
    noise = NoiseSource(run.seed, run.window)
    host.observer.stage("encode")
    given = _encode_run(model, layout, run, noise, host)

    with _kept_until_decoded(model, layout, run, host) as (found, keep):
        latents = host.group.broadcast(found)
        if latents is None:
            latents = keep(_sample(model, layout, run, given, noise, host))
        host.observer.stage("decode")
        known = known_clips(run.given, layout)
        decoded = _decode(model, layout, layout.join(latents, given), host, known)

    # A given layer comes back as it was given, not as the VAE remembers it.
    as_given = {name: pixels.float() for name, pixels in run.given.items()}
    return assemble_layers(from_model(decoded, layout) | as_given, layout, model.config.fps)


def known_clips(given: Collection[str], layout: Layout) -> set[str]:
    """Given layers that need no decoding: all but the alpha of a generated foreground, which is drawn with it."""
    drawn_with = {
        alpha.name
        for clip in layout.of_kind(FOREGROUND)
        if clip.name not in given and (alpha := layout.alpha_of(clip.name)) is not None
    }
    return set(given) - drawn_with


def _encode_run(
    model: LayerFlowModel, layout: Layout, run: Run, noise: NoiseSource, host: Host
) -> Tensor | None:
    """Clean latents of the run's given layers, [1, K, C, h, w] on the CPU."""
    if not run.given:
        return None

    def encode(mode: VaeMode) -> Tensor:
        return encode_given(model, layout, run.given, noise.generator(POSTERIOR), mode)

    vae = model.require_vae().vae
    with for_vae(host.devices, model, layout) as placement, pausing(vae, host.observer.pause):
        return placement.run(encode).cpu()


def _decode(
    model: LayerFlowModel,
    layout: Layout,
    latents: Tensor,
    host: Host,
    known: Collection[str],
) -> dict[str, Tensor]:
    """Clips in the model's colours but for the known ones, see ``LayerVAE.decode``."""
    vae = model.require_vae()
    with for_vae(host.devices, model, layout) as placement, pausing(vae.vae, host.observer.pause):
        clips = placement.run(lambda mode: vae.decode(latents, layout, mode, known))
    _check_finite(clips.values(), "the VAE's frames", vae.vae.dtype)
    return clips


@contextmanager
def _kept_until_decoded(
    model: LayerFlowModel, layout: Layout, run: Run, host: Host
) -> Iterator[tuple[Tensor | None, Callable[[Tensor], Tensor]]]:
    """Latents of the same run that was sampled before, and what keeps new ones.

    Leaving without an error forgets them.
    """
    store = host.latents
    key = ""
    if store:
        key = name_run(model, layout, run.prompts, run.given, run.settings, run.seed, run.window)
    if not key:
        yield None, lambda latents: latents
        return

    def keep(latents: Tensor) -> Tensor:
        try:
            store.keep(key, latents)
        except CheckpointError as error:  # only a decode that fails would miss them
            _log.warning("the sampled latents are not kept on disk, decoding continues: %s", error)
        return latents

    yield store.find(key), keep
    store.forget(key)


def check_run(model: LayerFlowModel, run: Run, host: Host = Host()) -> Layout:
    """Everything that can be wrong with a run's inputs, in one place; the layout it will use."""
    if run.settings.step_cache and host.group.size > 1:
        raise SamplingError(
            "got a step cache on several processes, which may not agree on what to skip: "
            "switch one of the two off"
        )
    layout = layout_for(model, run.given)
    model.require_text()
    check_prompts(run.prompts, layout)
    Schedule(model.config.schedule).timesteps_for(run.settings.steps)
    NoiseSource(run.seed, run.window)
    height, width = model.frame_size
    for name, pixels in run.given.items():
        check_frames(pixels, name, channels=1 if layout.clip(name).kind == ALPHA else 3)
        expected = (layout.clip_pixel_frames, height, width)
        shape = (pixels.shape[0], *pixels.shape[2:])
        if shape != expected:
            raise FrameError(
                f"given layer {name!r} has frames, height, width {shape}, expected {expected}: "
                "fit it to the model first"
            )
    check_mattes(run.given, layout)
    return layout


def encode_given(
    model: LayerFlowModel,
    layout: Layout,
    given: Mapping[str, Tensor],
    generator: torch.Generator,
    mode: VaeMode = WHOLE,
) -> Tensor | None:
    """Clean latents of the given frames, [1, K, C, h, w]; None where nothing is given."""
    if not given:
        return None
    known = to_model(given, layout)
    height, width = model.frame_size
    clips = {}
    for clip in layout.clips:
        shape = (clip.pixel_frames, 3, height, width)
        missing = clip.name not in known
        clips[clip.name] = (
            _stand_in(clip.kind, known, layout, shape) if missing else known[clip.name]
        )
    return layout.given_of(model.require_vae().encode(clips, layout, generator, mode))


def _stand_in(
    kind: str, known: Mapping[str, Tensor], layout: Layout, shape: tuple[int, ...]
) -> Tensor:
    for preferred in _STAND_INS[kind]:
        for clip in layout.of_kind(preferred):
            if clip.name in known:
                return known[clip.name]
    return torch.full(shape, _CONSTANTS.get(kind, 0.0))


def _sample(
    model: LayerFlowModel,
    layout: Layout,
    run: Run,
    given: Tensor | None,
    noise: NoiseSource,
    host: Host,
) -> Tensor:
    """Latents of the generated frames, [1, G, C, h, w] float32 on the CPU."""
    host.observer.stage("text")
    context = _encode_prompts(model.require_text(), layout, run, host)

    host.observer.stage("sample")
    shape = (1, len(layout.generated_frames), *model.config.network.latent_shape)
    draw = noise.per_step(shape)
    cache = StepCache(model.config, layout, run.settings.step_cache)
    number_size = model.network.position_table.element_size()
    kept = cached_bytes(model.config, number_size) if run.settings.step_cache else 0

    with (
        for_network(host.devices, model, kept) as placement,
        host.group.sequence_parallel(model.network.backbone),
    ):
        device = placement.device
        clean = None if given is None else given.to(device)
        predict = predictor(model, layout, context, clean, device, cache, host.group)

        def predict_placed(x: Tensor, timestep: int, guided: bool):
            return placement.run(lambda plan: predict(x, timestep, guided, plan.branches_together))

        def watch(step: Step, x: Tensor, x0: Tensor) -> None:
            name = f"the latents of step {step.index + 1} of {step.count}"
            _check_finite((x, x0), name, model.network.position_table.dtype)

            def preview() -> Tensor:
                return preview_layers(model, layout, layout.join(x0, clean))

            host.observer.step(step.index + 1, step.count, preview)

        return sample(
            predict_placed,
            noise.initial(shape).to(device),
            lambda step: draw(step).to(device),
            Schedule(model.config.schedule),
            run.settings,
            watch,
        ).cpu()


def _check_finite(tensors: Iterable[Tensor], name: str, dtype: torch.dtype) -> None:
    """Raises SamplingError: NaN or infinite values would be black frames at the end."""
    if all(bool(tensor.isfinite().all()) for tensor in tensors):
        return
    advice = (
        "the checkpoint, a LoRA or a given layer is damaged"
        if dtype == torch.float32
        else "take a precision of a wider range: bf16 instead of fp16, else fp32"
    )
    raise SamplingError(
        f"got NaN or infinite values in {name}, computed in {name_of_dtype(dtype)}, "
        f"expected finite ones: {advice}"
    )


def _encode_prompts(text: TextEncoder, layout: Layout, run: Run, host: Host) -> Tensor:
    if text.is_cached(run.prompts, layout):
        return text.encode_layers(run.prompts, layout)
    with for_text(host.devices, text) as placement:
        return placement.run(lambda plan: text.encode_layers(run.prompts, layout))


def predictor(
    model: LayerFlowModel,
    layout: Layout,
    context: Tensor,
    given: Tensor | None,
    device: torch.device | None = None,
    cache: StepCache | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> PredictBranches:
    """The network with its conditions: generated latents and timestep in, unconditional and conditional v out.

    The given clips enter clean at every call and see the same timestep (official release; paper section 3.3).

    Args:
        context: [1, S*L, width] of the prompts; the unconditional branch sees zeros.
        given: [1, K, C, h, w] clean latents or None.
        device: where the network computes; None: where its weights are.
        cache: of this run's steps; None computes every step.
        group: processes that share the calls.
    """
    cache = cache or StepCache(model.config, layout, 0)
    network = model.network
    device = device or network.position_table.device
    dtype = network.position_table.dtype
    both_texts = torch.cat([torch.zeros_like(context), context]).to(device, dtype)

    def call(x: Tensor, timestep: int, branches: Sequence[int]) -> Tensor:
        texts = both_texts[list(branches)]
        full = layout.join(x, given).to(dtype).expand(len(texts), -1, -1, -1, -1)
        timesteps = torch.full((len(texts),), timestep, device=device)
        v = cache.run(network.backbone, branches, lambda: network(full, texts, timesteps))
        return layout.generated_of(v)

    @torch.inference_mode()
    def predict(
        x: Tensor, timestep: int, guided: bool = True, together: bool = True
    ) -> tuple[Tensor | None, Tensor]:
        branches = (0, 1) if guided else (1,)
        computed = group.compute(lambda part: call(x, timestep, part), branches, together)
        *unconditional, conditional = computed.split(1)
        return (unconditional[0] if unconditional else None), conditional

    return predict


def preview_layers(model: LayerFlowModel, layout: Layout, latents: Tensor) -> Tensor:
    """The middle latent frame of every clip side by side, [3, h, w] in 0..1, without the VAE."""
    clips = [latents[0, layout.middle_frame(name)] for name in layout.names]
    wide = torch.cat(clips, -1).float().cpu()
    if model.config.preview is None:
        # No linear map is known for this VAE: the first three channels still show where things are.
        return (wide[:3] * 0.25 + 0.5).clamp(0, 1)
    *weights, offset = torch.tensor(model.config.preview)
    colours = torch.einsum("chw,cr->rhw", wide, torch.stack(weights))
    return (colours + offset[:, None, None]).clamp(0, 1)
