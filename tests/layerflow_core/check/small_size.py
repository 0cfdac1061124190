"""The check's parts at a size that a CPU works through in a second."""

from __future__ import annotations

import pytest

from layerflow_core.check import true_size, work

SMALL_VAE = {**true_size.TRUE_VAE, "block_out_channels": (4, 4, 4, 4), "norm_num_groups": 2}
SMALL_T5 = {**true_size.TRUE_T5, "vocab_size": 512, "d_model": 32, "d_ff": 64}
SMALL_T5 |= {"num_layers": 2, "num_heads": 2}


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    official_config = true_size.official_config

    def small_config(variant: str = true_size.VARIANT):
        return official_config(variant, width=128, blocks=2, latent_size=(6, 4))

    monkeypatch.setattr(true_size, "official_config", small_config)
    monkeypatch.setattr(true_size, "TRUE_VAE", SMALL_VAE)
    monkeypatch.setattr(true_size, "TRUE_T5", SMALL_T5)
    for counted in (work.operations_of_a_step, work.matrix_rate):
        counted.cache_clear()
