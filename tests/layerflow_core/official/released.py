"""Released files for the tests of what is made of them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from layerflow_core.inference import LoadOptions, load_for_inference
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.weights.components import Components

CPU = torch.device("cpu")
WIDTH = 32
EXACT = LoadOptions("fp32")
PROMPT = "a red star"


def load(path: Path, tokenizer: Path | None, **named: Path) -> LayerFlowModel:
    """In float32 on the CPU, with these parts in place of the file's own."""
    parts = Components(tokenizer=tokenizer, **named)
    return load_for_inference(path, CPU, EXACT, lambda config: parts)


def encode(model: LayerFlowModel) -> Tensor:
    with torch.inference_mode():
        return model.require_text().encode(PROMPT)


def decode(vae: nn.Module) -> Tensor:
    """Of a few latents, always the same."""
    latents = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return vae.decode(latents).sample
