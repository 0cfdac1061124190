"""A disc whose edge is known exactly, for tests of edited layers."""

import torch


def disc(x: float, y: float, size: int = 64, radius: float = 14.0) -> torch.Tensor:
    """Alpha of a disc with an edge one pixel wide, [1, 1, H, W]: moving it is known exactly."""
    down, right = torch.meshgrid(
        torch.arange(size).float(), torch.arange(size).float(), indexing="ij"
    )
    return (radius + 0.5 - ((right - x) ** 2 + (down - y) ** 2).sqrt()).clamp(0, 1)[None, None]


def image_of(alpha: torch.Tensor, inside=(0.9, 0.3, 0.1), outside=(0.0, 1.0, 0.0)) -> torch.Tensor:
    """Straight colour that is something quite different where nothing is to be seen."""
    inside, outside = (torch.tensor(c).view(1, 3, 1, 1) for c in (inside, outside))
    return torch.where(alpha > 0, inside, outside)
