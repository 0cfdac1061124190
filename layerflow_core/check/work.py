"""What work of true size takes on a device: rates, kernels, the transformer, the VAE, the text encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..inference import ComputeOptions, with_compute
from ..model.attention import SequenceAttention, split_qkv
from ..model.fp8 import store_in_fp8
from ..model.kernels import CHUNKED, KERNELS, SDPA, choose_kernel
from ..model.loading import LayerFlowModel
from ..model.lora_file import share_weights
from ..model.text import TextEncoder
from ..model.vae import VAE_MODES, VaeMode
from ..pipeline import predictor
from ..runtime.devices import OffloadingDevices
from ..runtime.memory import NETWORK_PLANS, TEXT_PLANS, PartPlan, size_at_work, size_of
from ..runtime.peaks import TEXT_PEAK, network_peak, vae_peak
from ..runtime.placement import Placement
from . import true_size
from .cases import PROMPTS, Bench, Measurement, Reading
from .measuring import Measure, difference, fastest, gib, measured

TERA = 1e12
_TIMESTEP = 500
_MATRIX = 8192
_SMALL_MATRIX = 2048  # on a CPU
_COPIED = 1024**3
_SMALL_COPY = 128 * 1024**2
_RAM_BESIDE_T5 = 4 * 1024**3


# Rates: what everything else is compared with.


def rates(bench: Bench) -> Iterator[Measurement]:
    """Matrix products and copies."""
    for dtype in dict.fromkeys((torch.float32, bench.dtype)):
        yield (
            f"matrix products, {str(dtype).removeprefix('torch.')}",
            partial(_multiply, bench, dtype),
        )
    yield "copies on the device", partial(_copy, bench)
    if bench.device.type != "cpu":
        yield "copies from RAM, pinned", partial(_fetch, bench)


def _multiply(bench: Bench, dtype: torch.dtype) -> Reading:
    return Reading((f"{matrix_rate(bench.device, dtype) / TERA:.2f} TFLOP/s",))


@lru_cache(maxsize=8)
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one large matrix product."""
    size = _SMALL_MATRIX if device.type == "cpu" else _MATRIX
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / fastest(lambda: left @ right, device, 5)


def _copy(bench: Bench) -> Reading:
    size = _SMALL_COPY if bench.device.type == "cpu" else _COPIED
    source = torch.zeros(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    seconds = fastest(lambda: target.copy_(source), bench.device, 5)
    return Reading((f"{2 * size / seconds / 1e9:.0f} GB/s",))


def _fetch(bench: Bench) -> Reading:
    source = torch.zeros(_COPIED, dtype=torch.uint8).pin_memory()
    target = torch.empty(_COPIED, dtype=torch.uint8, device=bench.device)
    seconds = fastest(lambda: target.copy_(source, non_blocking=True), bench.device, 5)
    return Reading((f"{_COPIED / seconds / 1e9:.0f} GB/s",))


# Attention of one block, with both branches of guidance.


def kernels(bench: Bench) -> Iterator[Measurement]:
    """Each one that is known, against torch's own choice."""
    config = true_size.official_config()
    tokens = config.sequence_length if bench.device.type != "cpu" else 1000
    heads = config.network.num_attention_heads
    width = config.network.hidden_size // heads
    shape = (2, tokens, heads, width)
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(shape, generator=generator).to(bench.device, bench.dtype) for _ in "qkv"]
    operations = 4 * shape[0] * heads * tokens**2 * width
    names = [SDPA, *(name for name in KERNELS if name not in (SDPA, CHUNKED)), CHUNKED]
    for name in names:
        yield name, partial(_attend, bench, name, inputs, operations)


def _attend(bench: Bench, name: str, inputs: list[Tensor], operations: int) -> Reading:
    kernel = choose_kernel(name, bench.device, bench.dtype)
    attend = SequenceAttention(kernel).attend
    expected = SequenceAttention(SDPA).attend(*inputs)
    with torch.inference_mode():
        error = difference(attend(*inputs), expected)
        seconds = fastest(lambda: attend(*inputs), bench.device)
    return Reading((f"{seconds * 1e3:.1f}", f"{operations / seconds / TERA:.1f}", f"{error:.1e}"))


# The transformer.


@dataclass(frozen=True)
class _Form:
    """How the transformer is stored and computes.

    Args:
        separate: query, key and value are three products, not the one that inference makes of them.
    """

    plan: PartPlan
    separate: bool = False
    fp8: bool = False
    fp8_fast: bool = False
    compiled: bool = False

    @property
    def name(self) -> str:
        words = [
            word for word in ("separate", "fp8", "fp8_fast", "compiled") if getattr(self, word)
        ]
        return ", ".join((*words, self.plan.name))


def transformer(bench: Bench) -> Iterator[Measurement]:
    """A guided step under every plan that fits, then in other forms: separate projections, 8 bits, compiled."""
    fastest_plan = NETWORK_PLANS[0]
    forms = (
        *(_Form(plan) for plan in NETWORK_PLANS),
        _Form(fastest_plan, separate=True),
        _Form(fastest_plan, fp8=True),
        _Form(fastest_plan, fp8_fast=True),
        _Form(fastest_plan, compiled=True),
    )
    for form in forms:
        yield form.name, partial(_step_in, bench, form)


def _step_in(bench: Bench, form: _Form) -> Reading:
    """A step with the kernel that ``auto`` takes."""
    device = bench.device
    plan = form.plan
    model = _in_form(bench, form)
    network = model.network
    blocks = list(network.backbone.transformer_blocks)
    branches = 1 + plan.branches_together
    counted = size_at_work(network, blocks, plan) + network_peak(model, branches, device)
    if (problem := _does_not_fit(device, network, counted)) is not None:
        return Reading((gib(counted), "-", "-", "-", "-"), problem)
    step = step_of(model, device)
    part = _Part("transformer", network, network.backbone)
    with _at_work(part, device, plan) as (placement, measure):
        seconds = fastest(lambda: placement.run(lambda plan: step(plan.branches_together)), device)
    rate = operations_of_a_step() / seconds
    share = rate / matrix_rate(device, bench.dtype)
    times = (f"{seconds:.2f}", f"{rate / TERA:.1f}", f"{share:.0%}")
    return Reading((gib(counted), gib(measure.peak), *times))


def _in_form(bench: Bench, form: _Form) -> LayerFlowModel:
    model = bench.true_transformer
    if form.separate:
        model = replace(model, network=share_weights(model.network))
        split_qkv(model.network.backbone)
    if form.fp8 or form.fp8_fast:
        network = store_in_fp8(copy.deepcopy(model.network), form.fp8_fast)
        model = replace(model, network=network)
    return with_compute(model, ComputeOptions(compiled=form.compiled), bench.device)


def step_of(model: LayerFlowModel, device: torch.device) -> Callable[[bool], Tensor]:
    """A guided call of the network; its argument says whether both branches go together."""
    layout = model.config.layout
    size = model.config.network
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((1, layout.frames, *size.latent_shape), generator=generator).to(device)
    context = torch.randn(1, model.config.text_length, size.text_embed_dim, generator=generator)
    predict = predictor(model, layout, context, None, device)
    return lambda together: predict(x, _TIMESTEP, True, together)[1]


@lru_cache(maxsize=1)
def operations_of_a_step() -> int:
    """Floating point operations of a guided step at true size, counted by torch on a network without data."""
    model = true_size.empty_model()
    config = model.config
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        latents = torch.empty(2, config.layout.frames, *config.network.latent_shape)
        texts = torch.empty(2, config.text_length, config.network.text_embed_dim)
        dtype = model.network.position_table.dtype
        model.network(latents.to(dtype), texts.to(dtype), torch.empty(2))
    return counter.get_total_flops()


# Parts under one plan.


@dataclass(frozen=True)
class _Part:
    """As ``Placement`` takes it."""

    name: str
    module: nn.Module
    holder: nn.Module


@contextmanager
def _at_work(
    part: _Part, device: torch.device, plan: PartPlan | VaeMode
) -> Iterator[tuple[Placement, Measure]]:
    """A part under this plan and no other; afterwards it leaves the device."""
    devices = OffloadingDevices(device)
    placement = Placement(part.name, part.module, part.holder, devices, [plan])
    try:
        with measured(device) as measure, placement:
            yield placement, measure
    finally:
        devices.make_room(part.module, 0)


def _does_not_fit(device: torch.device, part: nn.Module, counted: int) -> str | None:
    """What a row says where its plan needs more than is free, by the same counts as in a run."""
    free = OffloadingDevices(device).free(part)
    if free is None or counted <= free:
        return None
    return f"does not fit, {gib(free)} GiB are free"


# The VAE and the text encoder.


def vae_decoding(bench: Bench) -> Iterator[Measurement]:
    """All four clips, in every mode that fits."""
    config = true_size.official_config()
    generator = torch.Generator().manual_seed(2)
    shape = (1, config.layout.frames, *config.network.latent_shape)
    latents = torch.randn(shape, generator=generator)
    for mode in (mode for mode in VAE_MODES if not mode.on_cpu):
        yield mode.name, partial(_decode_in, bench, mode, latents)


def _decode_in(bench: Bench, mode: VaeMode, latents: Tensor) -> Reading:
    device = bench.device
    model = with_compute(bench.true_model, ComputeOptions(), device)
    vae = model.require_vae()
    layout = model.config.layout
    counted = size_of(vae.vae) + vae_peak(model, layout, mode, device)
    if (problem := _does_not_fit(device, vae.vae, counted)) is not None:
        return Reading((gib(counted), "-", "-"), problem)
    with _at_work(_Part("VAE", vae.vae, vae.vae), device, mode) as (placement, measure):
        placement.run(lambda mode: vae.decode(latents, layout, mode))
    return Reading((gib(counted), gib(measure.peak), f"{measure.seconds:.1f}"))


def text_encoding(bench: Bench) -> Iterator[Measurement]:
    """Three prompts, with the way of the weights to the device."""
    import psutil

    need = size_of(true_size.empty_t5(bench.dtype)) + _RAM_BESIDE_T5
    if psutil.virtual_memory().available < need:
        yield "all plans", lambda: Reading(("-",) * 3, f"needs {gib(need)} GiB of free RAM")
        return
    text = true_size.random_text(bench.device, bench.dtype)
    for plan in TEXT_PLANS:
        yield plan.name, partial(_encode_under, bench, plan, text)


def _encode_under(bench: Bench, plan: PartPlan, text: TextEncoder) -> Reading:
    device = bench.device
    fresh = TextEncoder(text.tokenizer, text.t5, text.tokens)
    layout = true_size.official_config().layout
    counted = size_at_work(text.t5, list(text.t5.encoder.block), plan) + TEXT_PEAK
    if (problem := _does_not_fit(device, text.t5, counted)) is not None:
        return Reading((gib(counted), "-", "-"), problem)
    part = _Part("text encoder", text.t5, text.t5.encoder)
    with _at_work(part, device, plan) as (placement, measure):
        placement.run(lambda _: fresh.encode_layers(PROMPTS, layout))
    return Reading((gib(counted), gib(measure.peak), f"{measure.seconds:.1f}"))
