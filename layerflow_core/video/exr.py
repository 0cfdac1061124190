"""OpenEXR: one frame of several layers; in, each at its place in the display window, and out, in half floats.

Legend: C channels, H height, W width; float32 as stored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..atomic import replacing
from ..errors import VideoFileError
from .allocation import check_room
from .frame_selection import FrameSelection
from .listing import check_regular
from .metadata import as_texts
from .orientation import pixel_aspect
from .packages import import_package
from .still import Still

_log = logging.getLogger(__name__)
ENDING = ".exr"
_LARGEST_SIDE = 65536
_TRANSFER = "display-referred, BT.709 primaries"


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels, as OpenEXR has them.

    Args:
        left, top: of the first pixel.
        width, height: 1 or more.
    """

    left: int
    top: int
    width: int
    height: int


def read_exr(path: Path) -> dict[str, Tensor]:
    """Layers of an OpenEXR file by name.

    Returns:
        Each [3 or 4, H, W] float32 as stored (by convention linear light, multiplied by alpha), H and W of the display
        window, 0 where the file has no pixels. '' has the channels without a layer name. A layer of luminance alone
        is grey.

    Raises:
        VideoFileError: OpenEXR is not installed, the file is damaged or deep, or its windows do not fit into memory.
    """
    layers, aspect = read_exr_pixels(path)
    if aspect != 1:
        _log.warning(
            "%s: its pixels are %.4g times as wide as high, and are taken for square ones",
            path,
            float(aspect),
        )
    return layers


def read_exr_pixels(path: Path) -> tuple[dict[str, Tensor], Fraction]:
    """As ``read_exr``, and the width of a pixel through its height."""
    check_regular(path)
    with _open(path, header_only=True) as file:
        headers = [part.header for part in file.parts]
        channels = sum(len(header.get("channels", ())) for header in headers)
        for header in headers:
            _check_header(header, channels, path)
        # Taken here: OpenEXR empties the headers when the file is closed.
        aspect = _aspect_of(headers)
    layers: dict[str, Tensor] = {}
    with _open(path) as file:
        if len(file.parts) < len(headers):  # OpenEXR drops a part that it cannot decode
            raise VideoFileError(
                f"{path}: {len(headers) - len(file.parts)} of {len(headers)} parts cannot be decoded; is it complete?"
            )
        for index, part in enumerate(file.parts):
            name = part.name() if index and callable(part.name) else ""
            for layer, pixels in _read_part(part, name, path).items():
                layers.setdefault(layer, pixels)
    return layers, aspect


def read_exr_still(path: Path, selection: FrameSelection) -> Still:
    """What every program shows of an OpenEXR file.

    Raises:
        VideoFileError: as ``read_exr``, or that is no colour.
    """
    layers, aspect = read_exr_pixels(path)
    if not layers:
        raise VideoFileError(f"{path} has no layer of R, G and B, or of Y, expected colour")
    shown = layers.get("", next(iter(layers.values())))
    return Still(shown, aspect)


def read_exr_layers(path: Path) -> list[tuple[str, Tensor]]:
    """Names and images, as ``read_exr``."""
    return list(read_exr(path).items())


@contextmanager
def _open(path: Path, header_only: bool = False) -> Iterator:
    exr = import_package("OpenEXR", "OpenEXR", path, "read")
    known = (
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        MemoryError,
        OSError,
    )
    try:
        with exr.File(str(path), separate_channels=True, header_only=header_only) as file:
            yield file
    except known as error:  # RuntimeError for all that the C++ library throws
        raise VideoFileError(
            f"{path} cannot be read as OpenEXR: {error}; is it complete?"
        ) from error


def _aspect_of(headers: list[dict]) -> Fraction:
    """Of the first part; a pixel's width through its height."""
    told = headers[0].get("pixelAspectRatio", 1.0) if headers else 1.0
    return pixel_aspect(_fraction(told))


def _fraction(number: float) -> Fraction | None:
    try:
        return Fraction(float(number)).limit_denominator(1000)
    except (ValueError, OverflowError):
        return None


def _window(header: dict, name: str, path: Path) -> Window:
    (left, top), (right, bottom) = ([int(number) for number in corner] for corner in header[name])
    window = Window(left, top, right - left + 1, bottom - top + 1)
    sides = (window.width, window.height)
    if min(sides) < 1 or max(sides) > _LARGEST_SIDE:
        raise VideoFileError(
            f"{path}: got a {name} of {sides[0]} x {sides[1]}, expected 1 to {_LARGEST_SIDE} pixels a side"
        )
    return window


def _check_header(header: dict, channels: int, path: Path) -> None:
    """Refuse what cannot be read, or will not fit, before any pixel is."""
    kind = str(header.get("type", ""))
    if "deep" in kind:
        raise VideoFileError(
            f"{path} is a deep OpenEXR file, expected a flat one; flatten it first"
        )
    for name in ("dataWindow", "displayWindow"):
        window = _window(header, name, path)
        check_room(1, max(1, channels), window.height, window.width, f"{path}, {name}")


def _read_part(part, part_name: str, path: Path) -> dict[str, Tensor]:
    """Layers of one part that are colour."""
    data = _window(part.header, "dataWindow", path)
    display = _window(part.header, "displayWindow", path)
    planes = {name: _plane(channel, data, path) for name, channel in part.channels.items()}
    found: dict[str, Tensor] = {}
    for prefix in dict.fromkeys(name.rpartition(".")[0] for name in planes):
        letters = _letters_of(prefix, planes)
        if letters:
            stacked = [planes[f"{prefix}.{letter}" if prefix else letter] for letter in letters]
            found[prefix or part_name] = _placed(stacked, data, display)
    if any(name.rpartition(".")[2] == "RY" for name in planes):
        _log.warning(
            "%s stores its colour as differences to its luminance, of which only the luminance is read",
            path,
        )
    return found


def _letters_of(prefix: str, planes: dict[str, np.ndarray]) -> str | None:
    """Which channels of a layer make an image; None if they make none."""
    there = {name.rpartition(".")[2] for name in planes if name.rpartition(".")[0] == prefix}
    alpha = "A" if "A" in there else ""
    if {"R", "G", "B"} <= there:
        return "RGB" + alpha
    return "YYY" + alpha if "Y" in there else None


def _plane(channel, data: Window, path: Path) -> np.ndarray:
    """[H, W] of the data window; channels that are sampled coarsely are kept as they are, for nobody to use."""
    pixels = channel.pixels
    is_whole = pixels.shape == (data.height, data.width)
    is_colour = channel.name.rpartition(".")[2] in "RGBAY"
    if is_colour and not is_whole:
        raise VideoFileError(
            f"{path}: got channel {channel.name} of {pixels.shape}, expected all {data.height} x {data.width} pixels"
        )
    return pixels


def _placed(planes: list[np.ndarray], data: Window, display: Window) -> Tensor:
    """Planes of the data window as an image of the display window, empty elsewhere."""
    image = np.zeros((len(planes), display.height, display.width), np.float32)
    left = max(data.left, display.left)
    top = max(data.top, display.top)
    right = min(data.left + data.width, display.left + display.width)
    bottom = min(data.top + data.height, display.top + display.height)
    if left < right and top < bottom:
        rows = slice(top - data.top, bottom - data.top)
        columns = slice(left - data.left, right - data.left)
        target = image[
            :, top - display.top : bottom - display.top, left - display.left : right - display.left
        ]
        for number, plane in enumerate(planes):
            target[number] = plane[rows, columns]
    return torch.from_numpy(image)


def write_exr(
    path: Path,
    foregrounds: Mapping[str, Tensor],
    opaque: Mapping[str, Tensor],
    fps: Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """One frame of several layers in half floats.

    Args:
        foregrounds, opaque: by name, each [C, H, W], values as they are, also below 0 and above 1; the first one's
            channels are R, G, B, A themselves, which every program shows; the others' are ``name.R`` and so on.

    Raises:
        VideoFileError: OpenEXR is not installed, or the file cannot be written.
    """
    exr = import_package("OpenEXR", "OpenEXR", path, "written")
    channels: dict[str, np.ndarray] = {}
    for name, image in [*foregrounds.items(), *opaque.items()]:
        prefix = f"{name}." if channels else ""
        planes = image.detach().cpu().numpy().astype(np.float16)
        for letter, plane in zip("RGBA", planes):
            channels[prefix + letter] = np.ascontiguousarray(plane)
    header = {
        "compression": exr.ZIP_COMPRESSION,
        "type": exr.scanlineimage,
        "framesPerSecond": fps,
        "transfer": _TRANSFER,
        **as_texts(metadata or {}),
    }
    with replacing(path) as partial:
        try:
            with exr.File(header, channels) as file:
                file.write(str(partial))
        except RuntimeError as error:
            raise VideoFileError(f"{path} cannot be written: {error}") from error
