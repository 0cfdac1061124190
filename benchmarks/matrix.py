"""Every official variant under every plan, one of them in every precision, at true size: ``python -m
benchmarks.matrix [VARIANT...]``.

The real modules run on fake tensors, so a mix of types would raise as on a card; what is printed is what they allocate,
weights included, GiB.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.plans import model_needs
from layerflow_core.check.true_size import empty_model
from layerflow_core.inference import prepare_for_inference
from layerflow_core.layout import OFFICIAL_VARIANTS
from layerflow_core.model.fp8 import store_in_fp8
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.runtime.memory import GIB

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": None}
IN_EVERY_PRECISION = "gen_rgba"


def build(variant: str, precision: str) -> LayerFlowModel:
    model = prepare_for_inference(empty_model(variant, PRECISIONS[precision] or torch.bfloat16))
    if precision == "fp8":
        store_in_fp8(model.network)
    return model


def main() -> None:
    is_headed = False
    for variant in sys.argv[1:] or OFFICIAL_VARIANTS:
        for precision in PRECISIONS if variant == IN_EVERY_PRECISION else ["bf16"]:
            model = build(variant, precision)
            needs = list(model_needs(model))
            if not is_headed:
                print_row("variant", "tokens", "", *(name for name, _, _ in needs))
                print_row(*["---"] * (len(needs) + 3))
                is_headed = True
            sizes = (f"{(weights + beside) / GIB:.1f}" for _, weights, beside in needs)
            print_row(variant, model.config.sequence_length, precision, *sizes)


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
