"""The true-size model on a card, counted against measured: ``python -m benchmarks.card [CASE...]``.

``gen_rgba`` at 480 x 720 in bf16 with random weights of CogVideoX-2B's dimensions; T5-XXL's encoder and the VAE too.
Peaks are the largest number of bytes that torch's allocator gave out, weights included; times are of the fastest call.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.plans import TRUE_T5, TRUE_VAE
from benchmarks.synthetic import official_config, random_tensors
from layerflow_core.inference import ComputeOptions, prepare_for_inference, with_compute
from layerflow_core.layout import Layout
from layerflow_core.model.fp8 import store_in_fp8
from layerflow_core.model.kernels import KERNELS
from layerflow_core.model.loading import LayerFlowModel, build_network, load_model
from layerflow_core.model.text import TextEncoder
from layerflow_core.model.vae import VAE_MODES, LayerVAE, build_vae
from layerflow_core.official.verification import GOLDEN, verify_folder
from layerflow_core.pipeline import Host, Run, SilentObserver, make_layers, predictor
from layerflow_core.runtime.devices import OffloadingDevices
from layerflow_core.runtime.memory import (
    GIB,
    NETWORK_PLANS,
    TEXT_PLANS,
    PartPlan,
    size_at_work,
    size_of,
)
from layerflow_core.runtime.peaks import TEXT_PEAK, network_peak, vae_peak
from layerflow_core.runtime.placement import Placement
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.embedded import EMBEDDED

CARD = torch.device("cuda")
PROMPTS = {
    "foreground": "a white dog runs over the grass",
    "background": "a lawn before a wooden fence",
    "blended": "a white dog runs over a lawn",
}
CARDS_GIB = (24, 16, 12, 8, 6, 4)
STEPS = 4
CALLS = 3


# Parts with random weights.


def build_model() -> LayerFlowModel:
    """All parts in RAM, the transformer with its LoRA merged and projections fused."""
    config = official_config()
    tensors = random_tensors(config, torch.bfloat16)
    network = build_network(config, tensors)
    vae = _randomised(lambda: build_vae(TRUE_VAE))
    tokenizer = load_model(EMBEDDED).require_text().tokenizer
    text = TextEncoder(tokenizer, _randomised(_build_t5), config.network.tokens_per_text)
    return prepare_for_inference(LayerFlowModel(config, network, text, LayerVAE(vae)))


def _build_t5() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(**TRUE_T5))


def _randomised(build: Callable[[], nn.Module]) -> nn.Module:
    """A part in bf16 and RAM; its numbers are drawn on the card, which is quicker."""
    with torch.device("meta"):
        part = build().bfloat16()
    part = part.to_empty(device=CARD).eval().requires_grad_(False)
    for parameter in part.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5)
        else:
            parameter.fill_(0.5)
    return part.to("cpu")


# Measuring.


class Measure:
    """Peak of memory and time of the work inside it."""

    peak = 0
    seconds = 0.0


@contextmanager
def measured() -> Iterator[Measure]:
    measure = Measure()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    yield measure
    torch.cuda.synchronize()
    measure.seconds = time.perf_counter() - started
    measure.peak = torch.cuda.max_memory_allocated()


def fastest(call: Callable[[], object], calls: int = CALLS) -> float:
    """Seconds."""
    times = []
    for _ in range(calls):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def print_row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def print_head(*cells: str) -> None:
    print()
    print_row(*cells)
    print("|" + "---|" * len(cells), flush=True)


def gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def difference(ours: Tensor, theirs: Tensor) -> str:
    """Relative to the spread of theirs."""
    return f"{float((ours.float() - theirs.float()).norm() / theirs.float().norm()):.1e}"


# Cases.


def compare_embedded(model: LayerFlowModel) -> None:
    """The small model, and the official code's recordings, on the card and on the CPU."""
    print_head("embedded model on the card against the CPU", "largest mean difference of a layer")
    run = Run(PROMPTS, {}, SamplerSettings(8), seed=3)
    expected = make_layers(load_model(EMBEDDED), run)
    for name, dtype in (
        ("float32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ):
        found = make_layers(
            load_model(EMBEDDED, dtype), run, Host(devices=OffloadingDevices("cuda"))
        )
        pairs = ((found.alpha, expected.alpha), (found.background, expected.background))
        print_row(name, f"{max(float((a - b).abs().mean()) for a, b in pairs):.1e}")
    for verdict in verify_folder(GOLDEN, device=CARD):
        print(verdict, flush=True)


def measure_transformer(model: LayerFlowModel) -> None:
    print_head("transformer", "counted, GiB", "measured, GiB", "seconds a step")
    for plan in NETWORK_PLANS:
        _measure_network(model, plan, "bf16")
    small = replace(model, network=store_in_fp8(_copied(model)))
    for plan in NETWORK_PLANS:
        _measure_network(small, plan, "fp8")


def _copied(model: LayerFlowModel) -> nn.Module:
    import copy

    return copy.deepcopy(model.network)


def _measure_network(model: LayerFlowModel, plan, name: str) -> None:
    network = model.network
    blocks = list(network.backbone.transformer_blocks)
    beside = network_peak(model, 1 + plan.branches_together, CARD)
    counted = size_at_work(network, blocks, plan) + beside
    with measured() as measure:
        with Placement(
            "transformer", network, network.backbone, OffloadingDevices("cuda"), [plan]
        ) as placement:
            call = step_of(model)
            seconds = fastest(lambda: placement.run(lambda plan: call(plan.branches_together)))
    print_row(f"{name}, {plan.name}", gib(counted), gib(measure.peak), f"{seconds:.2f}")


def step_of(model: LayerFlowModel) -> Callable[[bool], Tensor]:
    """A guided call of the network at timestep 500."""
    layout = model.config.layout
    size = model.config.network
    generator = torch.Generator().manual_seed(1)
    shape = (1, layout.frames, size.latent_channels, size.latent_height, size.latent_width)
    x = torch.randn(shape, generator=generator).to(CARD)
    context = torch.randn(1, model.config.text_length, size.text_embed_dim, generator=generator)
    predict = predictor(model, layout, context, None, CARD)
    return lambda together: predict(x, 500, True, together)[1]


def compare_kernels(model: LayerFlowModel) -> None:
    print_head("attention", "seconds a step", "difference")
    model.network.to(CARD)
    expected = None
    for kernel in KERNELS:
        expected = _compare_kernel(model, ComputeOptions(kernel), expected)
    _compare_kernel(model, ComputeOptions(compiled=True), expected)
    model.network.to("cpu")


def _compare_kernel(
    model: LayerFlowModel, how: ComputeOptions, expected: Tensor | None
) -> Tensor | None:
    name = f"{how.kernel} kernel, compiled" if how.compiled else how.kernel
    try:
        call = step_of(with_compute(model, how, CARD))
        result = call(True)
        seconds = fastest(lambda: call(True))
    except Exception as error:  # what a kernel that is not there says is what is to be learned
        print_row(name, "-", f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
        return expected
    expected = result if expected is None else expected
    print_row(name, f"{seconds:.2f}", difference(result, expected))
    return expected


def measure_vae(model: LayerFlowModel) -> None:
    print_head(
        "VAE, decoding", "counted, GiB", "measured, GiB", "seconds", "difference to the whole stack"
    )
    layout = model.config.layout
    size = model.config.network
    latents = torch.randn(
        1, layout.frames, size.latent_channels, size.latent_height, size.latent_width
    )
    vae = model.require_vae().vae
    expected = None
    for mode in VAE_MODES:
        counted = size_of(vae) + vae_peak(model, layout, mode, CARD)
        decoded, measure = _decode(model, layout, latents, mode)
        if decoded is None:
            print_row(mode.name, gib(counted), "out of memory", "-", "-")
            continue
        expected = decoded if expected is None else expected
        print_row(
            mode.name,
            gib(counted),
            gib(measure.peak),
            f"{measure.seconds:.1f}",
            difference(decoded, expected),
        )


def _decode(
    model: LayerFlowModel, layout: Layout, latents: Tensor, mode
) -> tuple[Tensor | None, Measure]:
    vae = model.require_vae()
    with measured() as measure:
        try:
            vae.vae.to(CARD)
            with torch.inference_mode():
                decoded = vae.decode(latents, layout, mode)
            decoded = torch.cat([clip.flatten(1) for clip in decoded.values()], 1).cpu()
        except torch.cuda.OutOfMemoryError:
            decoded = None
    vae.vae.to("cpu")
    return decoded, measure


def measure_text(model: LayerFlowModel) -> None:
    print_head("text encoder", "counted, GiB", "measured, GiB", "seconds for three prompts")
    text = model.require_text()
    for plan in TEXT_PLANS:
        counted = size_at_work(text.t5, list(text.t5.encoder.block), plan) + TEXT_PEAK
        measure = _measure_text(
            TextEncoder(text.tokenizer, text.t5, text.tokens), plan, model.config.layout
        )
        print_row(plan.name, gib(counted), gib(measure.peak), f"{measure.seconds:.1f}")


def _measure_text(text: TextEncoder, plan: PartPlan, layout: Layout) -> Measure:
    """With the time that its weights take to the card."""
    with measured() as measure:
        with Placement(
            "text encoder", text.t5, text.t5.encoder, OffloadingDevices("cuda"), [plan]
        ) as placement:
            placement.run(lambda _: text.encode_layers(PROMPTS, layout))
    return measure


class SmallerCard(OffloadingDevices):
    """A card that says it has less memory, and whose allocator holds to it."""

    def __init__(self, size: int) -> None:
        super().__init__("cuda")
        self._size = size
        torch.cuda.set_per_process_memory_fraction(
            size / torch.cuda.get_device_properties(0).total_memory
        )

    def free(self, part: nn.Module) -> int:
        return self._size - torch.cuda.memory_allocated()


class Stages(SilentObserver):
    """When each stage began."""

    def __init__(self) -> None:
        self._began: list[tuple[str, float]] = []

    def stage(self, name: str) -> None:
        torch.cuda.synchronize()
        self._began.append((name, time.perf_counter()))

    def __str__(self) -> str:
        self.stage("end")
        pairs = zip(self._began, self._began[1:])
        return ", ".join(f"{name} {end - start:.1f}" for (name, start), (_, end) in pairs)


def run_smaller_cards(model: LayerFlowModel) -> None:
    """Whole runs, as ``layerflow generate`` makes them, on cards that have less memory."""
    print_head("card of, GiB", "reserved at most, GiB", f"seconds ({STEPS} steps)")
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="    %(message)s")
    for size in CARDS_GIB:
        text = model.require_text()
        fresh = replace(model, text=TextEncoder(text.tokenizer, text.t5, text.tokens))
        stages = Stages()
        host = Host(stages, SmallerCard(size * GIB))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        layers = make_layers(fresh, Run(PROMPTS, {}, SamplerSettings(STEPS), seed=size), host)
        assert bool(torch.isfinite(layers.foreground).all())
        print_row(size, gib(torch.cuda.max_memory_reserved()), stages)
    torch.cuda.set_per_process_memory_fraction(1.0)


CASES: dict[str, Callable[[LayerFlowModel], None]] = {
    "embedded": compare_embedded,
    "transformer": measure_transformer,
    "text": measure_text,
    "cards": run_smaller_cards,
    "kernels": compare_kernels,
    "vae": measure_vae,
}


def main() -> None:
    names = sys.argv[1:] or list(CASES)
    properties = torch.cuda.get_device_properties(0)
    print(
        f"{properties.name}, {properties.total_memory / GIB:.0f} GiB, torch {torch.__version__}",
        flush=True,
    )
    model = build_model()
    for name in names:
        started = time.perf_counter()
        try:
            CASES[name](model)
        except Exception as error:  # the other cases are still worth their minutes
            print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
            import traceback

            traceback.print_exc()
        print(f"({name}: {time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
