"""One image in, at the depth of its file, upright, straight alpha; what it is read as is told by its bytes.

Legend: C channels (3, or 4 with alpha), H height, W width; 0..1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import VideoFileError
from .colour_profiles import to_srgb
from .frame_selection import ALL, FrameSelection
from .image_files import open_image
from .listing import open_binary
from .pixels import from_array
from .png import is_deep_png, read_deep_png
from .still import Facts, Still, read_facts
from .tiff import STARTS, bits_of, is_deep_tiff, read_deep_tiff, read_tags

HEAD = 26
"""Bytes that tell a PNG's depth."""

_SIXTEEN = 65535


def read_still(path: Path, selection: FrameSelection = ALL) -> Still:
    """Read one image, the first of a file of several.

    Args:
        selection: says to what size it will be brought, so that what will not fit is refused before.

    Raises:
        VideoFileError: no image, of a format that is not listed, damaged, or larger than memory.
    """
    with open_binary(path) as file:
        head = file.read(HEAD)
    if is_deep_png(head):
        return read_deep_png(path, selection)
    if head[:4] in STARTS:
        tags = read_tags(path)
        if is_deep_tiff(tags):
            return read_deep_tiff(path, tags)
    return _read_by_pillow(path, selection)


def _read_by_pillow(path: Path, selection: FrameSelection) -> Still:
    with open_image(path, selection) as image:
        pages = getattr(image, "n_frames", 1)
        image.load()
        facts = read_facts(image)
        if pages > 1:
            facts.remarks.append(f"of its {pages} images the first is read")
        if image.format == "TIFF" and image.mode.startswith("RGB") and 16 in bits_of(image.tag_v2):
            facts.remarks.append("of its 16 bits 8 are read")
        srgb, remark = to_srgb(image)
        if remark:
            facts.remarks.append(remark)
        frame = _from_pillow(srgb, path, facts)
    return facts.still_of(frame)


def _from_pillow(image, path: Path, facts: Facts) -> Tensor:
    """[C, H, W] of whatever mode Pillow has."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.float32) / _SIXTEEN)
    if mode == "I":
        return _grey(_from_whole_numbers(np.asarray(image), path))
    if mode == "F":
        return _grey(_from_floats(np.asarray(image), path, facts))
    has_alpha = any(band in "Aa" for band in image.getbands()) or "transparency" in image.info
    if mode == "La":
        image = image.convert("LA")  # straight
    return from_array(np.asarray(image.convert("RGBA" if has_alpha else "RGB")))


def _grey(plane: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(plane, np.float32)).expand(3, -1, -1)


def _from_whole_numbers(plane: np.ndarray, path: Path) -> np.ndarray:
    """32 bits, in which Pillow and ComfyUI keep images of 16."""
    low, high = int(plane.min()), int(plane.max())
    if low < 0 or high > _SIXTEEN:
        raise VideoFileError(
            f"{path}: got whole numbers from {low} to {high}, expected 0 to {_SIXTEEN}; save it "
            "with 16 bits, or as floats in 0..1"
        )
    return plane.astype(np.float32) / _SIXTEEN


def _from_floats(plane: np.ndarray, path: Path, facts: Facts) -> np.ndarray:
    if not np.isfinite(plane).all():
        raise VideoFileError(f"{path}: got NaN or infinite pixels, expected floats in 0..1")
    low, high = float(plane.min()), float(plane.max())
    if low < -0.01 or high > 1.01:
        facts.remarks.append(f"its values from {low:.4g} to {high:.4g} are cut to 0..1")
    return plane.clip(0, 1)
