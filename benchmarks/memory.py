"""Counted peaks against measured ones on this machine's CPU: ``python -m benchmarks.memory``.

Each case runs in a process of its own: weights of CogVideoX-2B's width and few blocks, random; the measured figure is
how far the process's memory rises during the call.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.synthetic import random_tensors
from layerflow_core.check.true_size import TRUE_VAE, official_config
from layerflow_core.model.loading import build_network
from layerflow_core.model.vae import STREAMED, TILED, WHOLE, Decoder, build_vae, set_mode
from layerflow_core.runtime.memory import count_peak, size_of

_MIB = 2**20
_NETWORKS = {
    "network, 12 x 18 latents": (12, 18, 8),
    "network, 24 x 36": (24, 36, 4),
    "network, 30 x 44": (30, 44, 2),
}
_VAES = {
    "VAE whole stack, 12 x 18": (WHOLE, 8, (12, 18)),
    "VAE streamed, 24 x 36": (STREAMED, 8, (24, 36)),
    "VAE in tiles, 24 x 36": (TILED, 8, (24, 36)),
}


def _network(height: int, width: int, blocks: int) -> tuple[nn.Module, Callable]:
    config = official_config(blocks=blocks, latent_size=(height, width))
    network = build_network(config, random_tensors(config, torch.float32))
    shape, text = (
        (2, config.layout.frames, 16, height, width),
        (2, config.text_length, config.network.text_embed_dim),
    )
    return network, lambda module: module(torch.zeros(shape), torch.zeros(text), torch.zeros(2))


def _vae(mode, frames: int, size: tuple[int, int]) -> tuple[nn.Module, Callable]:
    vae = set_mode(build_vae(TRUE_VAE), mode, size).requires_grad_(False)
    return Decoder(vae), lambda module: module(torch.zeros(1, 16, frames, *size))


def _memory(field: str) -> int:
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(field)
    ]
    return int(line.split()[1]) * 1024


def measure(case: str) -> str:
    module, call = _network(*_NETWORKS[case]) if case in _NETWORKS else _vae(*_VAES[case])
    counted = count_peak(module, call, torch.device("cpu"))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _memory("VmRSS")
    with torch.inference_mode():
        call(module)
    measured, weights = _memory("VmHWM") - before, size_of(module)
    share = (counted + weights) / (measured + weights)
    return f"| {case} | {weights / _MIB:.0f} | {counted / _MIB:.0f} | {measured / _MIB:.0f} | {share:.2f} |"


def main() -> None:
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
        return
    print(
        "| | weights, MiB | counted beside them | measured | counted / measured, with weights |\n|---|---|---|---|---|"
    )
    for case in (*_NETWORKS, *_VAES):
        print(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", case],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip(),
            flush=True,
        )


if __name__ == "__main__":
    main()
