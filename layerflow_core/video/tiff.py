"""TIFF of 16 bits in; one of 8 is read through Pillow, see ``stills``.

Legend: C channels (3, or 4 with alpha), H height, W width; 0..1, straight colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..rgba import unpremultiply
from .image_files import pillow_errors
from .listing import open_binary
from .orientation import from_exif
from .still import Still
from .streams.reading import read_deep_still

STARTS = (b"II*\0", b"MM\0*")

# Tags (TIFF 6.0), and values of theirs.
_BITS = 258
_PHOTOMETRIC = 262
_ORIENTATION = 274
_EXTRA_SAMPLES = 338
_SAMPLE_FORMAT = 339
_RGB = 2
_UNSIGNED = 1
_ASSOCIATED = 1

Tags = Mapping[int, object]


def read_tags(path: Path) -> dict[int, object]:
    """Tags of the first page, also of a TIFF whose pixels Pillow does not know."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with pillow_errors(path), open_binary(path) as file:
        directory = ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        return dict(directory)


def is_deep_tiff(tags: Tags) -> bool:
    """Colour of 16 bits, which Pillow cuts to 8 or does not know."""
    bits = bits_of(tags)
    formats = _numbers(tags, _SAMPLE_FORMAT) or (_UNSIGNED,)
    return (
        tags.get(_PHOTOMETRIC) == _RGB
        and len(bits) >= 3
        and set(bits) == {16}
        and set(formats) == {_UNSIGNED}
    )


def bits_of(tags: Tags) -> tuple:
    """Bits of each channel."""
    return _numbers(tags, _BITS)


def _numbers(tags: Tags, tag: int) -> tuple:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def read_deep_tiff(path: Path, tags: Tags) -> Still:
    """16 bits, through ffmpeg."""
    frame = read_deep_still(path, "tiff_pipe")
    if len(frame) == 4 and _ASSOCIATED in _numbers(tags, _EXTRA_SAMPLES):
        frame = torch.cat([unpremultiply(frame[:3], frame[3:]), frame[3:]])
    return Still(from_exif(tags.get(_ORIENTATION)).apply(frame))
