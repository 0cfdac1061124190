"""Layers that measures are tried on: a disc that moves over stripes."""

from __future__ import annotations

import torch

from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.rgba import over

HEIGHT, WIDTH = 48, 64


def disc(centre_x: float, centre_y: float = 24, radius: float = 12) -> torch.Tensor:
    """[1, 1, H, W] with a soft edge."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) * 1.0, torch.arange(WIDTH) * 1.0, indexing="ij")
    distance = torch.hypot(x - centre_x, y - centre_y)
    return ((radius - distance) / 4 + 0.5).clamp(0, 1)[None, None]


def make_layers(frames: int = 3, start: float = 24, steps: float = 2) -> LayerVideo:
    """What is blended is what the layers make."""
    alpha = torch.cat([disc(start + steps * number) for number in range(frames)])
    colour = torch.tensor([0.9, 0.3, 0.2]).view(1, 3, 1, 1).expand(frames, 3, HEIGHT, WIDTH)
    stripes = 0.5 + 0.4 * (torch.arange(WIDTH) / 3).sin()
    background = stripes.expand(frames, 3, HEIGHT, WIDTH).contiguous()
    blended = over(colour, alpha, background)
    return LayerVideo((Foreground("foreground", colour, alpha),), background, blended, 8)
