"""Which kernel each kind of device gets. None of them is here: what torch would say of them is said by the tests."""

from types import SimpleNamespace

import pytest
import torch

from layerflow_core.errors import SamplingError
from layerflow_core.model import kernels
from layerflow_core.model.kernels import (
    KERNELS,
    best_kernel,
    check_kernel,
    choose_kernel,
    has_fused_kernel,
    is_refusal,
    refusal,
)

CPU = torch.device("cpu")
BF16 = torch.bfloat16
FP16 = torch.float16
FP32 = torch.float32


@pytest.fixture
def card(monkeypatch):
    """(device type, compute capability, ROCm's version, whether torch has a fused kernel) -> the device."""

    def make(kind, capability=(0, 0), hip=None, fused=True):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(kernels, "_has_dispatch", lambda: True)
        monkeypatch.setattr(kernels, "refusal", lambda *asked: None)
        if kind == "cuda":
            monkeypatch.setattr(kernels, "has_fused_kernel", lambda *asked: fused)
        return torch.device(kind)

    return make


@pytest.mark.parametrize(
    ("described", "dtype", "kernel"),
    [
        (("cuda", (9, 0)), BF16, "cudnn"),
        (("cuda", (9, 0)), FP32, "sdpa"),
        (("cuda", (10, 0)), BF16, "cudnn"),
        (("cuda", (12, 0)), FP16, "cudnn"),
        (("cuda", (8, 9)), BF16, "sdpa"),
        (("cuda", (8, 0)), BF16, "sdpa"),
        (("cuda", (7, 5)), FP16, "sdpa"),
        (("cuda", (7, 5), None, False), BF16, "chunked"),
        (("cuda", (9, 0), "6.4"), BF16, "sdpa"),
        (("cuda", (10, 3), "6.4", False), FP16, "chunked"),
        (("mps",), BF16, "chunked"),
        (("xpu",), BF16, "sdpa"),
        (("cpu",), BF16, "sdpa"),
    ],
    ids=[
        "Hopper",
        "Hopper in fp32",
        "Blackwell",
        "RTX 50",
        "RTX 40",
        "A100",
        "Turing",
        "Turing in bf16",
        "gfx90a, which says 9.0, too",
        "RDNA 2",
        "Apple",
        "Intel",
        "CPU",
    ],
)
def test_auto_takes_the_fastest_exact_one(card, described, dtype, kernel):
    assert best_kernel(card(*described), dtype) == kernel
    assert choose_kernel("auto", card(*described), dtype) == kernel


def test_auto_falls_back_where_cudnn_refuses(card, monkeypatch):
    hopper = card("cuda", (9, 0))
    monkeypatch.setattr(kernels, "refusal", lambda *asked: "No available kernel")
    assert best_kernel(hopper, BF16) == "sdpa"


def test_8_bits_are_taken_where_they_are_allowed_installed_and_run(card, monkeypatch):
    ada = card("cuda", (8, 9))
    installed = [False]
    monkeypatch.setattr(kernels, "is_installed", lambda name: installed[0])
    assert best_kernel(ada, BF16, allow_8bit=True) == "sdpa"
    installed[0] = True
    assert best_kernel(ada, BF16) == "sdpa", "never unasked"
    assert best_kernel(ada, BF16, allow_8bit=True) == "sage"
    assert choose_kernel("auto", ada, BF16, allow_8bit=True) == "sage"
    assert choose_kernel("sdpa", ada, BF16, allow_8bit=True) == "sdpa", "a name decides"
    monkeypatch.setattr(kernels, "refusal", lambda *asked: "unsupported")
    assert best_kernel(ada, BF16, allow_8bit=True) == "sdpa"


@pytest.mark.parametrize("fused", ["flash", "efficient", "neither"])
def test_torch_is_asked_for_a_fused_kernel(monkeypatch, fused):
    asked = []

    def can_use(name):
        return lambda parameters, *_: asked.append(name) or name == fused

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *size, dtype, device: (dtype, device))
    backend = SimpleNamespace(
        SDPAParams=lambda *inputs: inputs,
        can_use_flash_attention=can_use("flash"),
        can_use_efficient_attention=can_use("efficient"),
    )
    monkeypatch.setattr(torch.backends, "cuda", backend)
    assert has_fused_kernel(torch.device("cuda"), BF16) == (fused != "neither")
    assert asked[0] == "flash"


def test_a_kernel_without_its_device_is_our_error():
    with pytest.raises(SamplingError, match="'cudnn', which does not run on cpu in torch.float32"):
        choose_kernel("cudnn", CPU, FP32)
    assert refusal("flash", CPU, FP32) is None
    assert choose_kernel("flash", CPU, FP32) == "flash"
    assert choose_kernel("chunked", CPU, FP32) == "chunked"


def test_what_is_not_here_is_named(monkeypatch):
    with pytest.raises(SamplingError, match="unknown attention kernel 'magic'"):
        check_kernel("magic")
    with pytest.raises(SamplingError, match="pip install sageattention|install diffusers 0.35"):
        check_kernel("sage")
    monkeypatch.setattr(kernels, "_has_dispatch", lambda: False)
    with pytest.raises(SamplingError, match="diffusers 0.35"):
        check_kernel("sage")
    check_kernel("flash")


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("No available kernel. Aborting execution.", True),
        ("cuDNN Frontend error: No execution plans support the graph.", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", False),
        ("CUDA out of memory. Tried to allocate 2 GiB", False),
        ("The size of tensor a (3) must match", False),
    ],
)
def test_refusals_are_told_from_other_errors(text, refuses):
    assert is_refusal(RuntimeError(text)) == refuses


def test_diffusers_knows_every_kernel():
    dispatch = pytest.importorskip("diffusers.models.attention_dispatch")
    assert set(KERNELS.values()) <= {name.value for name in dispatch.AttentionBackendName}
