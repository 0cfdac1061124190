"""The networks that measures look with, each made when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .networks.aesthetic import AestheticHead
    from .networks.clip import ClipImages
    from .networks.dino import DinoImages
    from .networks.lpips import PerceptualDistance
    from .networks.raft import OpticalFlow
    from .networks.viclip import TextAlignment


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

    @cached_property
    def flow(self) -> OpticalFlow:
        from .networks.raft import OpticalFlow

        return OpticalFlow(self.folder, torch.device(self.device))

    @cached_property
    def clip_l14(self) -> ClipImages:
        from .networks.clip import L14, ClipImages

        return ClipImages(L14, self.folder, torch.device(self.device))

    @cached_property
    def clip_b32(self) -> ClipImages:
        from .networks.clip import B32, ClipImages

        return ClipImages(B32, self.folder, torch.device(self.device))

    @cached_property
    def aesthetic(self) -> AestheticHead:
        from .networks.aesthetic import AestheticHead

        return AestheticHead(self.folder)

    @cached_property
    def dino(self) -> DinoImages:
        from .networks.dino import DinoImages

        return DinoImages(self.folder, torch.device(self.device))

    @cached_property
    def text_alignment(self) -> TextAlignment:
        from .networks.viclip import TextAlignment

        return TextAlignment(self.folder, torch.device(self.device))
