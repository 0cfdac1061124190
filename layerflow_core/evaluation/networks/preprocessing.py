"""Frames as VBench hands them to its networks (``vbench/utils.py``, ``clip_transform`` and ``dino_transform``).

Its resizing is torchvision's without antialiasing, which on float frames keeps what bicubic overshoots, and on frames
of 8 bits clips and rounds. Both are used there, and scores depend on which.

Legend: N frames, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 224
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def to_bytes(frames: Tensor) -> Tensor:
    """[N, 3, H, W] of 0..1 to whole numbers 0..255 in float32, as a video file of 8 bits holds them."""
    return (frames.float().clamp(0, 1) * 255).round()


def clip_frames(frames: Tensor, in_bytes: bool = False) -> Tensor:
    """For CLIP and ViCLIP: shorter side to 224, bicubic, middle cut out, normalised.

    Args:
        frames: [N, 3, H, W], 0..255, float32.
        in_bytes: resize as frames of 8 bits, as VBench reads them for ViCLIP.

    Returns:
        [N, 3, 224, 224].
    """
    resized = resize_shorter(frames, "bicubic")
    if in_bytes:
        resized = resized.clamp(0, 255).round()
    return _normalise(_cut_middle(resized), _CLIP_MEAN, _CLIP_STD)


def dino_frames(frames: Tensor) -> Tensor:
    """For DINO: shorter side to 224, bilinear, nothing cut off, normalised.

    Args:
        frames: as of ``clip_frames``.

    Returns:
        [N, 3, h, w], the smaller of both 224.
    """
    return _normalise(resize_shorter(frames, "bilinear"), _IMAGENET_MEAN, _IMAGENET_STD)


def resize_shorter(frames: Tensor, mode: str) -> Tensor:
    """Shorter side to 224, the longer one in proportion and rounded down, without antialiasing."""
    height, width = frames.shape[2:]
    if height <= width:
        size = (SIDE, int(SIDE * width / height))
    else:
        size = (int(SIDE * height / width), SIDE)
    if (height, width) == size:
        return frames
    return F.interpolate(frames, size, mode=mode, align_corners=False)


def middle_frames(available: int, wanted: int = 8) -> list[int]:
    """Numbers of frames from the middles of equal intervals; of a shorter clip all, and the last again and again."""
    count = min(available, wanted)
    edges = torch.linspace(0, available, count + 1, dtype=torch.float64).long().tolist()
    numbers = [(first + beyond - 1) // 2 for first, beyond in zip(edges, edges[1:])]
    return numbers + [numbers[-1]] * (wanted - count)


def _cut_middle(frames: Tensor) -> Tensor:
    top = round((frames.shape[2] - SIDE) / 2)
    left = round((frames.shape[3] - SIDE) / 2)
    return frames[..., top : top + SIDE, left : left + SIDE]


def _normalise(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    scale = frames.new_tensor(std).view(1, 3, 1, 1)
    return (frames / 255 - frames.new_tensor(mean).view(1, 3, 1, 1)) / scale
