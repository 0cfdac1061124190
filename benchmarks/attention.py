"""Times the training's head-by-head attention against torch's fused CPU kernel: ``python benchmarks/attention.py``."""

import time

import torch
import torch.nn.functional as F

from layerflow_core.toy.head_by_head import attend

TOKENS = 1584  # sixteen latent frames of 8 x 12 patches and three texts
ROUNDS = 5


def time_round(attention, inputs) -> float:
    started = time.perf_counter()
    attention(*inputs).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    inputs = [
        torch.randn(4, 3, TOKENS, 64, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    ]
    rounds = [
        (time_round(F.scaled_dot_product_attention, inputs), time_round(attend, inputs))
        for _ in range(ROUNDS)
    ]
    fused, by_head = (min(column) for column in zip(*rounds))
    print(
        f"head by head takes {by_head / fused:.2f} of the fused kernel's time, forward and "
        f"backward, bfloat16, {TOKENS} tokens, one thread"
    )


if __name__ == "__main__":
    main()
