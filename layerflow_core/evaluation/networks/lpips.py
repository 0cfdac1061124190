"""LPIPS (Zhang et al. 2018), AlexNet, version 0.1, by the package ``lpips``, which brings the linear layers along.

Legend: N frames, H height, W width; 0..1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..packages import import_package
from .files import ALEXNET, fill, find_file, open_source, read_state

_SMALLEST = 32
"""Pixels of a side below which AlexNet has nothing left to look at."""


class PerceptualDistance:
    """A map of distances, so that a region of it can be averaged.

    Args:
        folder: where AlexNet's file may be, see ``find_file``.

    Raises:
        EvaluationError: the package or the file is missing, or is something else.
    """

    smallest = _SMALLEST

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        package = import_package("lpips", "lpips", "LPIPS")
        self._device = device
        self._network = package.LPIPS(net="alex", pnet_rand=True, spatial=True, verbose=False)
        path = find_file(ALEXNET, folder)
        trunk = self._network.net
        fill(trunk, read_state(open_source(path), _trunk_names(trunk), path), path)
        self._network.eval().to(device)

    @torch.inference_mode()
    def map(self, a: Tensor, b: Tensor) -> Tensor:
        """[1, 3, H, W] twice to [1, 1, H, W] of distances."""
        first = a.float().to(self._device) * 2 - 1
        second = b.float().to(self._device) * 2 - 1
        return self._network(first, second).cpu()


def _trunk_names(trunk: torch.nn.Module) -> dict[str, str]:
    """``slice2.3.weight`` of the package -> ``features.3.weight`` of torchvision's file."""
    return {key: f"features.{key.split('.', 1)[1]}" for key in trunk.state_dict()}
