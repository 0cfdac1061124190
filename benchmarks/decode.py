"""Time of the VAE's modes in turn: ``python -m benchmarks.decode [LATENT_FRAMES HEIGHT WIDTH]``;
memory is in ``benchmarks.plans``.

CogVideoX-2B's VAE with random weights, float32 on a CPU, bf16 on a GPU; the figure is a ratio of the fastest rounds.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.step import time_call
from layerflow_core.check.true_size import TRUE_VAE
from layerflow_core.model.vae import VAE_MODES, build_vae, set_mode

ROUNDS = 2


def main() -> None:
    frames, height, width = (int(number) for number in (sys.argv[1:] or ("8", "6", "10")))
    device, dtype = (
        ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    )
    vae = build_vae(TRUE_VAE).to(device, dtype).requires_grad_(False)
    latents = torch.randn(1, 16, frames, height, width, device=device, dtype=dtype)

    def decode(mode) -> None:
        with torch.inference_mode():
            set_mode(vae, mode, (height, width)).decode(latents)

    rounds = [
        {mode.name: time_call(lambda mode=mode: decode(mode)) for mode in VAE_MODES}
        for _ in range(ROUNDS)
    ]
    best = {name: min(times[name] for times in rounds) for name in rounds[0]}
    whole = best[VAE_MODES[0].name]
    print(
        f"{frames} latent frames, {height} x {width}, {dtype}, {device}: whole stack {whole:.1f} s; "
        + ", ".join(
            f"{name} {seconds / whole:.2f} of that" for name, seconds in list(best.items())[1:]
        )
    )


if __name__ == "__main__":
    main()
