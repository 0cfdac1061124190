"""In which numbers each kind of device computes. None of them is here."""

import platform
from types import SimpleNamespace

import pytest
import torch

from layerflow_core.errors import CheckpointError
from layerflow_core.runtime.precision import (
    best_dtype,
    choose_dtype,
    multiplies_fp8,
    name_of_dtype,
)

BF16 = torch.bfloat16
FP16 = torch.float16
FP32 = torch.float32
CUDA = torch.device("cuda")


@pytest.fixture
def card(monkeypatch):
    """(name, major compute capability, AMD's architecture) -> a CUDA device that says so."""

    def make(name, major, architecture=None):
        properties = SimpleNamespace(name=name, major=major, gcnArchName=architecture)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.version, "hip", "6.4" if architecture else None)
        return CUDA

    return make


@pytest.mark.parametrize(
    ("described", "dtype"),
    [
        (("NVIDIA B200", 10), BF16),
        (("NVIDIA H100", 9), BF16),
        (("NVIDIA GeForce RTX 4090", 8), BF16),
        (("NVIDIA GeForce RTX 3060", 8), BF16),
        (("NVIDIA GeForce RTX 2080 Ti", 7), FP16),
        (("Tesla T4", 7), FP16),
        (("Tesla V100", 7), FP16),
        (("NVIDIA GeForce GTX 1660 SUPER", 7), FP32),
        (("NVIDIA GeForce GTX 1080", 6), FP32),
        (("AMD Instinct MI250X", 9, "gfx90a:sramecc+:xnack-"), BF16),
        (("AMD Instinct MI300X", 9, "gfx942"), BF16),
        (("AMD Radeon RX 7900", 11, "gfx1100"), BF16),
        (("AMD Radeon RX 6800", 10, "gfx1030"), FP16),
        (("AMD Radeon VII", 9, "gfx906"), FP16),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_auto_asks_the_card(card, described, dtype):
    device = card(*described)
    assert best_dtype(device) == choose_dtype("auto", device) == dtype
    assert choose_dtype("fp8", device) == (FP16 if dtype == FP16 else BF16)
    assert choose_dtype("fp32", device) == FP32


@pytest.mark.parametrize(("release", "dtype"), [("13.6", FP16), ("14.5", BF16), ("26.0", BF16)])
def test_auto_asks_macos(monkeypatch, release, dtype):
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), "arm64"))
    assert best_dtype(torch.device("mps")) == dtype


@pytest.mark.parametrize(("supported", "dtype"), [(True, BF16), (False, FP16)])
def test_auto_asks_intel_s_driver(monkeypatch, supported, dtype):
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda: supported)
    assert best_dtype(torch.device("xpu")) == dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", FP32), ("fp32", FP32), ("bf16", BF16), ("fp16", FP16), ("fp8", BF16)],
)
def test_precisions_of_a_cpu(precision, dtype):
    assert choose_dtype(precision, torch.device("cpu")) == dtype


def test_unknown_devices_compute_in_float32():
    assert best_dtype(torch.device("meta")) == FP32


def test_unknown_precisions_are_named():
    with pytest.raises(CheckpointError, match="got unknown precision 'fp4', expected one of auto"):
        choose_dtype("fp4", torch.device("cpu"))


def test_names_are_those_that_are_asked_for():
    names = [name_of_dtype(dtype) for dtype in (FP32, BF16, FP16, torch.float64)]
    assert names == ["fp32", "bf16", "fp16", "torch.float64"]


@pytest.mark.parametrize(
    ("kind", "capability", "hip", "able"),
    [
        ("cuda", (8, 9), None, True),
        ("cuda", (9, 0), None, True),
        ("cuda", (12, 0), None, True),
        ("cuda", (8, 6), None, False),
        ("cuda", (9, 4), "6.4", False),
        ("cpu", (0, 0), None, False),
        ("mps", (0, 0), None, False),
    ],
)
def test_which_devices_multiply_in_fp8(kind, capability, hip, able, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_fp8(torch.device(kind)) == able


def test_fast_fp8_computes_as_fp8_does(monkeypatch):
    assert choose_dtype("fp8_fast", torch.device("cpu")) == choose_dtype("fp8", torch.device("cpu"))
