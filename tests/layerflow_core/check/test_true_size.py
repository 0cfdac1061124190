import torch

from layerflow_core.check import true_size

from .small_size import make_small

CPU = torch.device("cpu")


def count(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def test_parts_have_the_released_sizes():
    """Parameters of CogVideoX-2B's transformer, its VAE, and T5 v1.1 XXL's encoder, in billions."""
    model = true_size.empty_model()
    assert round(count(model.network) / 1e9, 2) == 1.74, (
        "LoRA merged, its position table is one of these"
    )
    assert round(count(model.require_vae().vae) / 1e9, 3) == 0.216
    assert round(count(true_size.empty_t5()) / 1e9, 3) == 4.762


def test_a_random_model_is_ready_for_inference(monkeypatch):
    make_small(monkeypatch)
    model = true_size.random_model(CPU, torch.float32)
    attention = model.network.backbone.transformer_blocks[0].attn1
    assert attention.to_qkv.weight.shape == (3 * 128, 128)
    spread = float(attention.to_qkv.weight.std()) * 128**0.5
    assert 0.95 < spread < 1.05, "what goes in comes out as large"
    assert all(bool(tensor.isfinite().all()) for tensor in model.network.state_dict().values())


def test_random_text_encodes(monkeypatch):
    make_small(monkeypatch)
    text = true_size.random_text(CPU, torch.float32)
    encoded = text.encode("a red circle")
    assert encoded.shape == (226, 32) and bool(encoded.isfinite().all())
    assert text.t5.encoder.embed_tokens.weight is text.t5.shared.weight
