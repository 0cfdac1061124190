"""The one place where Pillow opens a file from outside: only as what the list here names.

Pillow would otherwise ask all of its plugins, of which one runs Ghostscript on what the file says.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import VideoFileError
from .allocation import check_room
from .frame_selection import ALL, FrameSelection
from .listing import check_regular

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")
"""Pillow's names of the formats that are opened."""

_WORKING_CHANNELS = (
    7  # of floats: the result's 4, and Pillow's and numpy's copies in 8 bits and in between
)


class _WholeFilesOnly:
    """While any image is open, Pillow refuses what was cut, also where another program told it to fill up with grey.

    That is one switch of Pillow's for the whole process, which is set back when the last image is closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._before = False

    def __enter__(self) -> None:
        from PIL import ImageFile

        with self._lock:
            if not self._open:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._open += 1

    def __exit__(self, *_) -> None:
        from PIL import ImageFile

        with self._lock:
            self._open -= 1
            if not self._open:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_whole_files_only = _WholeFilesOnly()


@contextmanager
def open_image(path: Path, selection: FrameSelection = ALL, data: bytes | None = None) -> Iterator:
    """A ``PIL.Image.Image`` of a regular file, not decoded yet.

    What Pillow raises within the block becomes a VideoFileError too.

    Args:
        selection: says to what size it is to be brought.
        data: what is read instead of the file's own bytes.

    Raises:
        VideoFileError: another format, damaged, or larger than memory or Pillow's limit allows.
    """
    from PIL import Image

    check_regular(path)
    source = path if data is None else io.BytesIO(data)
    with pillow_errors(path), _whole_files_only, Image.open(source, formats=FORMATS) as image:
        width, height = image.size
        check_room(1, _WORKING_CHANNELS, height, width, str(path))
        check_room(1, len(image.getbands()), *selection.size_of(height, width), f"{path}, resized")
        yield image


@contextmanager
def pillow_errors(path: Path) -> Iterator[None]:
    """What Pillow raises of damaged files becomes a VideoFileError. No cancel can pass here."""
    from PIL import Image, UnidentifiedImageError

    known = (
        OSError,  # also for truncated files, and ImageCms.PyCMSError's cause
        SyntaxError,  # of broken chunks
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,  # of plugins that meet what they do not expect
        EOFError,
        MemoryError,
        RuntimeError,
        NotImplementedError,
        struct.error,
        zlib.error,
    )
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise VideoFileError(
            f"{path} is too large to be opened as an image: {error}; make it smaller first"
        ) from error
    except UnidentifiedImageError as error:
        expected = ", ".join(FORMATS)
        raise VideoFileError(
            f"{path} cannot be read as an image: it is none of {expected}, or damaged"
        ) from error
    except known as error:
        reason = str(error) or type(error).__name__
        raise VideoFileError(
            f"{path} cannot be read as an image: {reason}; is it complete?"
        ) from error
