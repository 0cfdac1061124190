"""Floats to whole numbers as files have them, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_DTYPES = {255: np.uint8, 65535: np.uint16}


def to_array(picture: Tensor, top: int) -> np.ndarray:
    """[C, H, W] in 0..1 to [H, W, C] whole numbers 0..top."""
    planes = picture.detach().cpu().numpy()
    whole = np.empty((*planes.shape[1:], planes.shape[0]), _DTYPES[top])
    for index, plane in enumerate(planes):
        scaled = plane * np.float32(top)
        scaled += np.float32(0.5)
        whole[..., index] = np.clip(scaled, 0, top, out=scaled)
    return whole


def from_array(array: np.ndarray) -> Tensor:
    """[H, W, C] whole numbers or floats to [C, H, W] float32 in 0..1."""
    top = np.iinfo(array.dtype).max if np.issubdtype(array.dtype, np.integer) else 1
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32) / np.float32(top))
