"""Whole runs on a card that is held to less memory: ``python -m benchmarks.card [GIB...]``.

``gen_rgba`` at 480 x 720 with random weights of CogVideoX-2B's dimensions; T5-XXL's encoder and the VAE too. What each
plan takes by itself, and what every kernel does, is measured by ``layerflow check``.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

import torch
from torch import nn

from layerflow_core.check.cases import PROMPTS
from layerflow_core.check.measuring import StageTimes
from layerflow_core.check.true_size import random_model, random_text
from layerflow_core.inference import ComputeOptions, with_compute
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.text import TextEncoder
from layerflow_core.pipeline import Host, Run, make_layers
from layerflow_core.runtime.devices import OffloadingDevices
from layerflow_core.runtime.memory import GIB
from layerflow_core.runtime.precision import best_dtype
from layerflow_core.sampling.sampler import SamplerSettings

CARD = torch.device("cuda")
SIZES = (24, 16, 12, 8, 6, 4)
STEPS = 4


class SmallerCard(OffloadingDevices):
    """A card that says it has less memory, and whose allocator holds to it."""

    def __init__(self, size: int) -> None:
        super().__init__(CARD)
        self._size = size
        torch.cuda.set_per_process_memory_fraction(
            size / torch.cuda.get_device_properties(CARD).total_memory
        )

    def free(self, part: nn.Module) -> int:
        return self._size - torch.cuda.memory_allocated()


def run_on(size: int, model: LayerFlowModel, text: TextEncoder) -> None:
    """A run as ``layerflow generate`` makes it; prints a row."""
    fresh = replace(model, text=TextEncoder(text.tokenizer, text.t5, text.tokens))
    stages = StageTimes(CARD)
    host = Host(stages, SmallerCard(size * GIB))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    layers = make_layers(fresh, Run(PROMPTS, {}, SamplerSettings(STEPS), seed=size), host)
    assert bool(torch.isfinite(layers.foreground).all())
    reserved = torch.cuda.max_memory_reserved() / GIB
    print(f"| {size} | {reserved:.1f} | {stages.end()} |", flush=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="    %(message)s")
    dtype = best_dtype(CARD)
    model = with_compute(random_model(CARD, dtype), ComputeOptions(), CARD)
    text = random_text(CARD, dtype)
    print(f"| card of, GiB | reserved at most, GiB | seconds ({STEPS} steps) |\n|---|---|---|")
    for size in map(int, sys.argv[1:] or SIZES):
        run_on(size, model, text)


if __name__ == "__main__":
    main()
