"""Share of the machine's matrix rate that a step reaches: ``python -m benchmarks.rate [BLOCKS HEIGHT WIDTH]``.

The rate is measured in the same run, on the largest matrix product of a block; the step's work is counted by torch.
On a GPU the default is the whole transformer at true size, 30 blocks and 21,600 video tokens, in bf16.
"""

from __future__ import annotations

import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.step import build, time_call
from layerflow_core.inference import ComputeOptions, prepare_for_inference, with_compute
from layerflow_core.pipeline import predictor

ROUNDS = 3


def main() -> None:
    on_gpu = torch.cuda.is_available()
    blocks, height, width = (
        int(number)
        for number in (sys.argv[1:] or (("30", "60", "90") if on_gpu else ("2", "12", "18")))
    )
    device, dtype = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
    model = with_compute(
        prepare_for_inference(build(blocks, height, width, dtype, device)),
        ComputeOptions(),
        torch.device(device),
    )
    size = model.config.network
    layout = model.config.layout
    x = torch.randn(1, layout.frames, size.latent_channels, height, width, device=device)
    predict = predictor(
        model, layout, torch.randn(1, model.config.text_length, size.text_embed_dim), None
    )
    tokens = torch.randn(
        2 * model.config.sequence_length, size.hidden_size, device=device, dtype=dtype
    )
    matrix = torch.randn(size.hidden_size, 4 * size.hidden_size, device=device, dtype=dtype)
    with FlopCounterMode(display=False) as work:
        predict(x, 500)
    product = 2 * tokens.shape[0] * matrix.numel()
    rounds = [
        (time_call(lambda: tokens @ matrix), time_call(lambda: predict(x, 500)))
        for _ in range(ROUNDS)
    ]
    rate = product / min(r[0] for r in rounds)
    reached = work.get_total_flops() / min(r[1] for r in rounds)
    print(
        f"{blocks} blocks, {height} x {width} latents, {model.config.sequence_length} tokens, {dtype}, {device}: "
        f"{reached / 1e12:.2f} of {rate / 1e12:.2f} TFLOP/s, {reached / rate:.0%}"
    )


if __name__ == "__main__":
    main()
