"""What ComfyUI was started with decides where a node says auto."""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

SAME = {"text_precision": "", "vae_precision": ""}


@pytest.fixture
def flags(pack, host, monkeypatch):
    """(flags that are set, what the card has) -> the module, as ComfyUI would see that card."""
    module = importlib.import_module(f"{pack.__name__}.nodes.comfy_flags")
    management = sys.modules["comfy.model_management"]

    def start(*names, card=None):
        args = SimpleNamespace(**dict.fromkeys(names, True))
        monkeypatch.setattr(sys.modules["comfy.cli_args"], "args", args)
        if card is not None:
            monkeypatch.setattr(management, "get_torch_device", lambda: torch.device("cuda"))
            for name in ("bf16", "fp16"):
                found = name in card
                has = lambda device, found=found: found  # noqa: E731
                monkeypatch.setattr(management, f"should_use_{name}", has, raising=False)
        return module

    return start


@pytest.mark.parametrize(
    ("card", "precision"),
    [(None, "auto"), (("bf16", "fp16"), "bf16"), (("fp16",), "fp16"), ((), "fp32")],
)
def test_auto_asks_comfyui(flags, card, precision):
    assert flags(card=card).choose_precisions("auto") == {"precision": precision, **SAME}


@pytest.mark.parametrize(
    ("flag", "part", "precision"),
    [
        ("force_fp32", "precision", "fp32"),
        ("fp32_unet", "precision", "fp32"),
        ("bf16_unet", "precision", "bf16"),
        ("fp16_unet", "precision", "fp16"),
        ("fp8_e4m3fn_unet", "precision", "fp8"),
        ("fp16_text_enc", "text_precision", "fp16"),
        ("fp8_e4m3fn_text_enc", "text_precision", "fp8"),
        ("fp16_vae", "vae_precision", "fp16"),
        ("bf16_vae", "vae_precision", "bf16"),
        ("fp32_vae", "vae_precision", "fp32"),
        ("cpu_vae", "vae_precision", "fp32"),
    ],
)
def test_a_flag_means_what_it_says(flags, flag, part, precision):
    found = flags(flag, card=("bf16",)).choose_precisions("auto")
    assert found == {"precision": "bf16", **SAME, part: precision}


def test_what_the_node_says_goes_first(flags):
    found = flags("fp16_unet", "fp32_vae").choose_precisions("bf16")
    assert found == {"precision": "bf16", "text_precision": "", "vae_precision": "fp32"}


@pytest.mark.parametrize(
    ("set_flags", "installed", "kernel"),
    [
        ((), True, "auto"),
        (("use_sage_attention",), True, "sage"),
        (("use_sage_attention",), False, "auto"),
        (("use_split_cross_attention",), False, "chunked"),
        (("use_quad_cross_attention",), False, "chunked"),
    ],
)
def test_flags_of_attention(flags, monkeypatch, set_flags, installed, kernel):
    module = flags(*set_flags)
    monkeypatch.setattr(module, "find_spec", lambda name: installed or None)
    assert module.choose_kernel("auto") == kernel
    assert module.choose_kernel("flash") == "flash"


def test_flags_reach_the_model(flags, call):
    flags("bf16_vae", "fp16_text_enc", "use_split_cross_attention")
    model = call("LoadLayerFlow")[0]
    assert model.vae.vae.dtype == torch.bfloat16
    assert model.text.t5.shared.weight.dtype == torch.float16
    kernels = {block.attn1.processor.kernel for block in model.network.backbone.transformer_blocks}
    assert kernels == {"chunked"}
    faster = call("LayerFlowSpeed", model=model)[0]
    assert faster.network.backbone.transformer_blocks[0].attn1.processor.kernel == "chunked"
