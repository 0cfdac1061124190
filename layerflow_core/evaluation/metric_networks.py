"""The networks that measures look with, each made when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .networks.lpips import PerceptualDistance


@dataclass(frozen=True)
class MetricNetworks:
    """All of them; one whose package or file is missing raises EvaluationError, and says what to get.

    Args:
        folder: where their files are, None for only those that torch once fetched.
        device: they compute on.
    """

    folder: Path | None = None
    device: str = "cpu"

    @cached_property
    def lpips(self) -> PerceptualDistance:
        from .networks.lpips import PerceptualDistance

        return PerceptualDistance(self.folder, torch.device(self.device))
