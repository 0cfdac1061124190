"""Frames of any size and count to what a model takes, and back.

Legend: N frames, C channels, H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FrameError
from ..rgba import premultiply

_LEAST_ALPHA = 1e-6  # that colour is divided by
FEWEST_FRAMES = 2
FITS = ("pad", "stretch", "cover")


def check_frames(frames: Tensor, name: str, channels: int = 3, fewest: int = FEWEST_FRAMES) -> None:
    """Refuse what no model should see.

    Args:
        frames: [N, C, H, W], 0..1.

    Raises:
        FrameError: wrong rank, channel count, too few frames, an empty image, NaN or infinite values, or values
            that are plainly not 0..1.
    """
    if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[1] != channels:
        got = list(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
        raise FrameError(f"{name}: got {got}, expected frames of [N, {channels}, H, W]")
    if frames.shape[0] < fewest:
        raise FrameError(
            f"{name}: got {frames.shape[0]} frames, expected a video of {fewest} or more; repeat a still image first"
        )
    if 0 in frames.shape:
        raise FrameError(f"{name}: got an empty image of {list(frames.shape)}, expected pixels")
    if not frames.is_floating_point():
        raise FrameError(f"{name}: got pixels of type {frames.dtype}, expected floats in 0..1")
    if not torch.isfinite(frames).all():
        raise FrameError(
            f"{name}: got NaN or infinite pixels, expected 0..1; check the nodes before this one"
        )
    low, high = float(frames.min()), float(frames.max())
    if low < -0.01 or high > 1.01:
        raise FrameError(
            f"{name}: got pixels from {low:.3g} to {high:.3g}, expected 0..1; divide 8-bit values by 255"
        )


def check_matte(colour: Tensor, alpha: Tensor) -> None:
    """Raises FrameError unless alpha [N, 1, H, W] has the frames, height and width of colour [N, 3, H, W]."""
    sizes = [f"{p.shape[0]} frames of {p.shape[3]} x {p.shape[2]}" for p in (colour, alpha)]
    if sizes[0] != sizes[1]:
        raise FrameError(
            f"got foreground of {sizes[0]} and alpha of {sizes[1]}, expected equal frames, height and width"
        )


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] to another size: bicubic with antialias, clipped to 0..1; unchanged where the size fits."""
    if frames.shape[2:] == (height, width):
        return frames
    return F.interpolate(frames, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def resize_layer(colour: Tensor, alpha: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """A straight layer to another size, premultiplied on the way, so that no edge takes on the colour beyond it.

    Args:
        colour: [N, 3, H, W]; where nothing is seen of it, it is resized as it is.
        alpha: [N, 1, H, W].
    """
    if colour.shape[2:] == (height, width):
        return colour, alpha
    small = resize(alpha, height, width)
    multiplied = resize(premultiply(colour, alpha), height, width)
    straight = (multiplied / small.clamp(min=_LEAST_ALPHA)).clamp(0, 1)
    unseen = resize(colour, height, width)
    return torch.where(small > 0, straight, unseen), small


def cover(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize until the target is covered, then cut out its middle, as the official code prepares its clips.

    Not clipped: bicubic overshoot stays, as there.
    """
    met_height, met_width = frames.shape[2:]
    if met_width / met_height > width / height:
        size = (height, int(met_width * height / met_height))
    else:
        size = (int(met_height * width / met_width), width)
    # Truncation of the free side may fall one short of the target.
    size = (max(size[0], height), max(size[1], width))
    big = F.interpolate(frames, size, mode="bicubic", antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return big[:, :, top : top + height, left : left + width]


@dataclass(frozen=True)
class Fit:
    """How images of one size were brought to another, so that it can be undone.

    Args:
        source_size: height and width as they came.
        height, width: as the model takes them.
        mode: ``pad`` keeps all of the image and its aspect, ``stretch`` all of it, ``cover`` its aspect only.

    Raises:
        FrameError: the mode is unknown.
    """

    source_size: tuple[int, int]
    height: int
    width: int
    mode: str = "pad"

    def __post_init__(self) -> None:
        if self.mode not in FITS:
            raise FrameError(f"got unknown fit {self.mode!r}, expected one of {', '.join(FITS)}")

    @property
    def _inner(self) -> tuple[int, int, int, int]:
        """top, left, height, width of the image within the padded frame."""
        scale = min(self.height / self.source_size[0], self.width / self.source_size[1])
        height, width = (
            max(1, round(self.source_size[0] * scale)),
            max(1, round(self.source_size[1] * scale)),
        )
        return (self.height - height) // 2, (self.width - width) // 2, height, width

    def apply(self, frames: Tensor) -> Tensor:
        """[N, C, *source_size] -> [N, C, height, width], 0..1."""
        if self.mode == "stretch" or self.source_size == (self.height, self.width):
            return resize(frames, self.height, self.width)
        if self.mode == "cover":
            return cover(frames, self.height, self.width).clamp(0, 1)
        top, left, height, width = self._inner
        borders = (left, self.width - width - left, top, self.height - height - top)
        return F.pad(resize(frames, height, width), borders, mode="replicate")

    def undo(self, frames: Tensor) -> Tensor:
        """[N, C, height, width] -> [N, C, *source_size]; what ``cover`` cut off comes back as the edge's colour."""
        if self.mode == "cover" and self.source_size != (self.height, self.width):
            scale = max(self.height / self.source_size[0], self.width / self.source_size[1])
            height, width = (
                min(self.source_size[0], round(self.height / scale)),
                min(self.source_size[1], round(self.width / scale)),
            )
            top, left = (self.source_size[0] - height) // 2, (self.source_size[1] - width) // 2
            return F.pad(
                resize(frames, height, width),
                (left, self.source_size[1] - width - left, top, self.source_size[0] - height - top),
                mode="replicate",
            )
        if self.mode == "pad":
            top, left, height, width = self._inner
            frames = frames[:, :, top : top + height, left : left + width]
        return resize(frames, *self.source_size)


def pick_frames(available: int, wanted: int, start: int = 0) -> list[int]:
    """Frame numbers the official data reader takes: a window one shorter than wanted, its first frame doubled.

    Source: official release, data reader; ``available`` is cut to 64 there before a window is chosen.
    """
    window = min(available, wanted - 1)
    return [
        int(start + i * (window - 1 if window > 1 else 0) / (wanted - 1)) for i in range(wanted)
    ]


def spread_frames(available: int, wanted: int) -> list[int]:
    """``wanted`` frame numbers evenly over all of a video; short ones repeat."""
    return [round(i * (available - 1) / max(1, wanted - 1)) for i in range(wanted)]


def first_frames(available: int, wanted: int) -> list[int]:
    """The first ``wanted`` frame numbers; a short video holds its last frame."""
    return [min(i, available - 1) for i in range(wanted)]


def hold_last(frames: Tensor, count: int) -> Tensor:
    """Exactly ``count`` frames: cut, or filled up with the last one."""
    return frames[first_frames(len(frames), count)]


@dataclass(frozen=True)
class Windows:
    """A long video as overlapping windows of the model's length.

    Args:
        total: frames of the video, 1 or more.
        length: frames of a window.
        overlap: frames that neighbours share, less than ``length``.
    """

    total: int
    length: int
    overlap: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.length or self.total < 1:
            raise FrameError(
                f"got {self.total} frames in windows of {self.length} with {self.overlap} shared, "
                "expected 0 <= shared < window, 1 or more frames"
            )

    @property
    def starts(self) -> list[int]:
        """First frames; the last window ends with the video."""
        last = max(0, self.total - self.length)
        return [*range(0, last, self.length - self.overlap), last]

    def cut(self, frames: Tensor) -> Iterator[Tensor]:
        """Windows of exactly ``length`` frames; a video shorter than that holds its last frame."""
        return (
            hold_last(frames[start : start + self.length], self.length) for start in self.starts
        )

    def merge(self, pieces: list[Tensor]) -> Tensor:
        """Windows back to [total, C, H, W], cross-faded where they share frames."""
        if len(pieces) == 1:
            return pieces[0][: self.total]
        video = torch.zeros(self.total, *pieces[0].shape[1:])
        weight = torch.zeros(self.total, 1, 1, 1)
        for number, (start, piece) in enumerate(zip(self.starts, pieces)):
            ramp = self._ramp(number)
            video[start : start + self.length] += piece * ramp
            weight[start : start + self.length] += ramp
        return video / weight

    def _ramp(self, number: int) -> Tensor:
        """[length, 1, 1, 1] weights of a window: rising where it begins inside another, falling
        where it ends in one.
        """
        ramp = torch.ones(self.length)
        starts = self.starts
        if number > 0 and (shared := starts[number - 1] + self.length - starts[number]) > 0:
            ramp[:shared] *= torch.arange(1, shared + 1) / (shared + 1)
        if (
            number < len(starts) - 1
            and (shared := starts[number] + self.length - starts[number + 1]) > 0
        ):
            ramp[-shared:] *= torch.arange(shared, 0, -1) / (shared + 1)
        return ramp.view(-1, 1, 1, 1)
