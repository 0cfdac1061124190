"""Which processors are given numbers of 16 bits."""

import pytest
import torch

from layerflow_core.runtime.devices import fast_autocast, multiplies_halves

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "halves"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False)]
)
def test_halves_are_not_emulated(monkeypatch, capability, halves):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert multiplies_halves(CPU) == halves and multiplies_halves(torch.device("cuda"))
    with fast_autocast(CPU):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == (
            torch.bfloat16 if halves else torch.float32
        )
