"""LAION's aesthetic predictor: one linear layer on CLIP ViT-L/14's features (LAION-AI/aesthetic-predictor)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .clip import L14
from .files import AESTHETIC, fill, find_file, open_source, read_state

_TOP = 10  # of its scale


class AestheticHead:
    """Raises EvaluationError if its file is missing, or another network's."""

    def __init__(self, folder: Path | None) -> None:
        path = find_file(AESTHETIC, folder)
        with torch.device("meta"):
            self._layer = torch.nn.Linear(L14.features, 1)
        names = {key: key for key in self._layer.state_dict()}
        fill(self._layer, read_state(open_source(path), names, path), path)

    @torch.inference_mode()
    def score(self, features: Tensor) -> Tensor:
        """[N, 768] of length 1 to [N], about 0..1."""
        return self._layer(features)[:, 0] / _TOP
