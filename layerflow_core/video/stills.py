"""One image in, at the depth of its file, upright, straight alpha.

Legend: C channels (3, or 4 with alpha), H height, W width; 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import VideoFileError
from ..rgba import unpremultiply
from .colour_profiles import describe_profile, to_srgb
from .exr import first_layer, read_exr_pixels
from .frame_selection import ALL, FrameSelection
from .image_files import open_image, pillow_errors
from .listing import check_regular
from .orientation import UPRIGHT, Orientation, from_exif, pixel_aspect
from .pixels import from_array

_SIXTEEN = 65535
_EXIF_ORIENTATION = 0x0112
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_BITS, _PHOTOMETRIC, _ORIENTATION, _EXTRA_SAMPLES, _SAMPLE_FORMAT = (
    258,
    262,
    274,
    338,
    339,
)  # TIFF 6.0
_RGB, _UNSIGNED, _ASSOCIATED = 2, 1, 1  # their values
_SRGB_GAMMA = 0.45455  # as PNG's gAMA has it


@dataclass(frozen=True)
class Still:
    """An image that was read.

    Args:
        frame: [C, H, W], upright.
        aspect: width of a pixel through its height.
        remarks: what the file says of itself and is not honoured.
    """

    frame: Tensor
    aspect: Fraction = Fraction(1)
    remarks: tuple[str, ...] = ()


@dataclass
class _Facts:
    """What a file says of itself, before its pixels are read."""

    orientation: Orientation = UPRIGHT
    aspect: Fraction = Fraction(1)
    remarks: list[str] = field(default_factory=list)


def read_still(path: Path, selection: FrameSelection = ALL) -> Still:
    """Read one image, the first of a file of several.

    Args:
        selection: says to what size it will be brought, so that what will not fit is refused before.

    Raises:
        VideoFileError: no image, of a format that is not listed, damaged, or larger than memory.
    """
    if path.suffix.lower() == ".exr":
        layers, aspect = read_exr_pixels(path)
        return Still(first_layer(layers, path), aspect)
    with open_binary(path) as file:
        head = file.read(26)
    if is_deep_png(head):
        return _read_deep_png(path, selection)
    if head[:4] in _TIFF_STARTS:
        tags = _tiff_tags(path)
        if _is_deep_tiff(tags):
            return _read_deep_tiff(path, tags)
    return _read_by_pillow(path, selection)


def open_binary(path: Path):
    """A regular file; raises VideoFileError if it is none."""
    check_regular(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise VideoFileError(f"{path} cannot be read: {error}") from error


def is_deep_png(head: bytes) -> bool:
    """Whether a file that begins so is a PNG of 16 bits."""
    return head[:8] == _PNG_START and head[24:25] == b"\x10"


def _read_by_pillow(path: Path, selection: FrameSelection) -> Still:
    with open_image(path, selection) as image:
        pages = getattr(image, "n_frames", 1)
        image.load()
        facts = read_facts(image)
        if pages > 1:
            facts.remarks.append(f"of its {pages} images the first is read")
        if (
            image.format == "TIFF"
            and image.mode.startswith("RGB")
            and 16 in _numbers(image.tag_v2, _BITS)
        ):
            facts.remarks.append("of its 16 bits 8 are read")
        srgb, remark = to_srgb(image)
        if remark:
            facts.remarks.append(remark)
        frame = _from_pillow(srgb, path, facts)
    return Still(
        facts.orientation.apply(frame), facts.orientation.aspect(facts.aspect), tuple(facts.remarks)
    )


def read_facts(image) -> _Facts:
    """Orientation, pixel aspect and what cannot be honoured of a ``PIL.Image.Image``."""
    facts = _Facts()
    facts.orientation = from_exif(image.getexif().get(_EXIF_ORIENTATION))
    facts.aspect = _aspect_of(image.info)
    gamma = image.info.get("gamma")
    is_told_better = "srgb" in image.info or "icc_profile" in image.info
    if gamma and not is_told_better and abs(gamma - _SRGB_GAMMA) > 0.02:
        facts.remarks.append(
            f"its gamma of {gamma:.4g} is not applied, and its colours are taken for sRGB"
        )
    if image.mode == "CMYK" and not image.info.get("icc_profile"):
        facts.remarks.append("its CMYK colours have no profile, and are converted roughly")
    return facts


def _aspect_of(info: dict) -> Fraction:
    """By pixels per length, which files give for both axes: the more of them, the shorter the pixel."""
    density = info.get("aspect") or info.get("dpi") or info.get("jfif_density")
    try:
        across, down = (Fraction(float(number)).limit_denominator(10000) for number in density)
        return pixel_aspect(down / across)
    except (TypeError, ValueError, ArithmeticError):
        return Fraction(1)


def _from_pillow(image, path: Path, facts: _Facts) -> Tensor:
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


def _from_floats(plane: np.ndarray, path: Path, facts: _Facts) -> np.ndarray:
    if not np.isfinite(plane).all():
        raise VideoFileError(f"{path}: got NaN or infinite pixels, expected floats in 0..1")
    low, high = float(plane.min()), float(plane.max())
    if low < -0.01 or high > 1.01:
        facts.remarks.append(f"its values from {low:.4g} to {high:.4g} are cut to 0..1")
    return plane.clip(0, 1)


def _read_deep_png(path: Path, selection: FrameSelection) -> Still:
    """16 bits, through ffmpeg; Pillow would cut them to 8. What the file says besides comes from Pillow."""
    from .streams import read_deep_still

    with open_image(path, selection) as image:
        facts = read_facts(image)
        profile = describe_profile(image.info.get("icc_profile"))
    if profile:
        facts.remarks.append(
            f"its colour profile {profile!r} is not applied to 16 bits, and its colours are taken for sRGB"
        )
    frame = read_deep_still(path, "png_pipe")
    return Still(
        facts.orientation.apply(frame), facts.orientation.aspect(facts.aspect), tuple(facts.remarks)
    )


def _tiff_tags(path: Path) -> dict[int, object]:
    """Tags of the first page, also of a TIFF whose pixels Pillow does not know."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with pillow_errors(path), open_binary(path) as file:
        directory = ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        return dict(directory)


def _is_deep_tiff(tags: dict[int, object]) -> bool:
    """Colour of 16 bits, which Pillow cuts to 8 or does not know."""
    bits = _numbers(tags, _BITS)
    formats = _numbers(tags, _SAMPLE_FORMAT) or (_UNSIGNED,)
    return (
        tags.get(_PHOTOMETRIC) == _RGB
        and len(bits) >= 3
        and set(bits) == {16}
        and set(formats) == {_UNSIGNED}
    )


def _numbers(tags: Mapping[int, object], tag: int) -> tuple:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _read_deep_tiff(path: Path, tags: dict[int, object]) -> Still:
    from .streams import read_deep_still

    frame = read_deep_still(path, "tiff_pipe")
    if len(frame) == 4 and _ASSOCIATED in _numbers(tags, _EXTRA_SAMPLES):
        frame = torch.cat([unpremultiply(frame[:3], frame[3:]), frame[3:]])
    return Still(from_exif(tags.get(_ORIENTATION)).apply(frame))
