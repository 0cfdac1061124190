"""Floats to whole numbers as files have them, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import FrameError

_DTYPES = {255: np.uint8, 65535: np.uint16}


def to_array(image: Tensor, top: int) -> np.ndarray:
    """[C, H, W] in 0..1 to [H, W, C] whole numbers 0..top."""
    planes = image.detach().cpu().numpy()
    whole = np.empty((*planes.shape[1:], planes.shape[0]), _DTYPES[top])
    for index, plane in enumerate(planes):
        scaled = plane * np.float32(top)
        scaled += np.float32(0.5)
        whole[..., index] = np.clip(scaled, 0, top, out=scaled)
    return whole


def to_arrays(
    frames: Iterable[Tensor], top: int, name: str, channels: int | None = None
) -> Iterator[np.ndarray]:
    """Frames [C, H, W] of a file as ``to_array`` makes them, one after another.

    Args:
        name: of the file, for messages.
        channels: that it takes; None for as many as the first frame has.

    Raises:
        FrameError: no frames, or one of another shape.
    """
    expected = None
    for number, frame in enumerate(frames):
        expected = expected or (channels or len(frame), *frame.shape[-2:])
        if tuple(frame.shape) != expected:
            raise FrameError(
                f"{name}: got frame {number} of {list(frame.shape)}, expected {list(expected)}"
            )
        yield to_array(frame, top)
    if expected is None:
        raise FrameError(f"{name}: got no frames, expected one or more")


def from_array(array: np.ndarray, whites: tuple[int, int] | None = None) -> Tensor:
    """[H, W, C] whole numbers or floats to [C, H, W] float32 in 0..1.

    Args:
        whites: numbers that stand for 1 in colour and in alpha, where that is not the largest of their type.
    """
    top = np.iinfo(array.dtype).max if np.issubdtype(array.dtype, np.integer) else 1
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32)
    if whites is None or whites == (top, top):
        return torch.from_numpy(planes / np.float32(top))
    colour, alpha = whites
    planes[:3] /= np.float32(colour)
    planes[3:] /= np.float32(alpha)
    return torch.from_numpy(np.minimum(planes, 1, out=planes))
