"""Images out: PNG of 8 and 16 bits, OpenEXR, moving PNG, Photoshop documents.

Legend: N frames, C channels (3, or 4 with alpha), H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..atomic import replacing
from ..errors import FrameError, VideoFileError
from .encodings import APNG, with_alpha, write_stream
from .pixels import to_array

_PNG_START = 33  # signature and header, which all other chunks follow
_PNG_FORMATS = {(3, 255): "rgb24", (4, 255): "rgba", (3, 65535): "rgb48be", (4, 65535): "rgba64be"}
# A third of the time of the encoder's own level, for files that are a fourteenth larger.
PNG_OPTIONS = {"pred": "paeth", "compression_level": "1"}
IMAGE_NUMBER = "{:05d}"


def write_png(
    path: Path, image: Tensor, top: int = 255, metadata: Mapping[str, Any] | None = None
) -> None:
    """A PNG of 8 (``top`` 255) or 16 bits (65535), straight alpha.

    Args:
        image: [C, H, W].
        metadata: text chunks; values that are no text become JSON.

    Raises:
        FrameError: no image.
        VideoFileError: it cannot be written.
    """
    write_png_frames(lambda number: path, [image], top, metadata)


def write_png_frames(
    path_of: Callable[[int], Path],
    frames: Iterable[Tensor],
    top: int = 255,
    metadata: Mapping[str, Any] | None = None,
) -> list[Path]:
    """A PNG a frame, several being compressed at a time.

    Args:
        path_of: where the frame of this number goes.
        frames: each [C, H, W], all alike.
        metadata: text chunks of the first.

    Raises:
        FrameError: no images, or of different sizes.
        VideoFileError: one cannot be written.
    """
    paths = []
    for data in _encode_pngs(frames, top):
        paths.append(path_of(len(paths)))
        with replacing(paths[-1]) as partial:
            partial.write_bytes(
                data[:_PNG_START]
                + _png_text(metadata or {} if len(paths) == 1 else {})
                + data[_PNG_START:]
            )
    return paths


def _encode_pngs(frames: Iterable[Tensor], top: int) -> Iterator[bytes]:
    """The encoder holds back as many images as it has threads."""
    import av

    context = shape = None
    for number, image in enumerate(frames):
        if image.ndim != 3 or (form := _PNG_FORMATS.get((image.shape[0], top))) is None:
            raise FrameError(f"got image of {list(image.shape)}, expected [3 or 4, H, W]")
        if context is None:
            shape, context = image.shape, av.CodecContext.create("png", "w")
            context.height, context.width = shape[1:]
            context.pix_fmt, context.time_base = form, Fraction(1, 1)
            context.thread_count, context.thread_type, context.options = (
                0,
                "FRAME",
                dict(PNG_OPTIONS),
            )
        if image.shape != shape:
            raise FrameError(
                f"got image {number} of {list(image.shape)}, expected {list(shape)} as the first"
            )
        frame = av.VideoFrame.from_ndarray(
            to_array(image, top), format=form
        )  # PyAV swaps the bytes itself
        frame.pts = number
        yield from map(bytes, context.encode(frame))
    if context is None:
        raise FrameError("got no images, expected one or more")
    yield from map(bytes, context.encode())


def _png_text(metadata: Mapping[str, Any]) -> bytes:
    """Text chunks of a PNG (W3C PNG, 11.3.3); JSON is pure ASCII."""
    chunks = b""
    for key, value in metadata.items():
        body = (
            key.encode()
            + b"\0"
            + (value if isinstance(value, str) else json.dumps(value)).encode("latin-1", "replace")
        )
        chunks += (
            struct.pack(">I", len(body))
            + b"tEXt"
            + body
            + struct.pack(">I", zlib.crc32(b"tEXt" + body))
        )
    return chunks


def write_png_sequence(folder: Path, colour: Tensor, alpha: Tensor | None) -> list[Path]:
    """One PNG a frame, ``00000.png`` on, 8 bits, straight alpha."""
    frames = colour if alpha is None else with_alpha(colour, alpha)
    return write_png_frames(lambda number: folder / f"{IMAGE_NUMBER.format(number)}.png", frames)


def write_image(path: Path, image: Tensor) -> None:
    """[3 or 4, H, W] 0..1 as the file type that the name says."""
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (3, 4):
        raise FrameError(f"got image of {list(image.shape)}, expected [3 or 4, H, W]")
    with replacing(path) as partial:
        Image.fromarray(to_array(image, 255)).save(partial)


def write_exr(
    path: Path,
    layers: Mapping[str, Tensor],
    fps: Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """One frame of several layers in half floats.

    Args:
        layers: by name, each [C, H, W], values as they are, also below 0 and above 1; the first one's channels are
            R, G, B, A themselves, which every program shows; the others' are ``name.R`` and so on.

    Raises:
        VideoFileError: OpenEXR is not installed, or the file cannot be written.
    """
    exr = _import("OpenEXR", "OpenEXR", path)
    channels = {}
    for number, (name, image) in enumerate(layers.items()):
        prefix = "" if number == 0 else f"{name}."
        channels |= {
            prefix + letter: np.ascontiguousarray(plane)
            for letter, plane in zip("RGBA", image.detach().cpu().numpy().astype(np.float16))
        }
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in (metadata or {}).items()
    }
    header = {
        "compression": exr.ZIP_COMPRESSION,
        "type": exr.scanlineimage,
        "framesPerSecond": fps,
        **texts,
    }
    with replacing(path) as partial:
        try:
            with exr.File(header, channels) as file:
                file.write(str(partial))
        except RuntimeError as error:
            raise VideoFileError(f"{path} cannot be written: {error}") from error


def write_apng(
    path: Path,
    frames: Iterable[Tensor],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Animated PNG of frames [4, H, W], looping, 8 bits, straight alpha."""
    with replacing(path) as partial:
        write_stream(partial, frames, fps, APNG)
        if metadata:
            insert_metadata(partial, metadata)


def insert_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Put text chunks behind the header of a PNG that is there."""
    with path.open("rb") as old, replacing(path) as partial, partial.open("wb") as new:
        new.write(old.read(_PNG_START) + _png_text(metadata))
        shutil.copyfileobj(old, new)


def write_psd(path: Path, layers: Mapping[str, Tensor], hidden: Iterable[str] = ()) -> None:
    """A Photoshop document of one frame, 8 bits, straight alpha.

    Args:
        layers: by name, each [C, H, W], the lowest first.
        hidden: of these, the ones that are not shown when it is opened.

    Raises:
        VideoFileError: psd-tools is not installed, or the file cannot be written.
    """
    from PIL import Image

    document_type = _import("psd_tools", "psd-tools", path).PSDImage
    height, width = next(iter(layers.values())).shape[-2:]
    document = document_type.new("RGBA", (width, height))  # else alpha would become a mask
    for name, image in layers.items():
        layer = document.create_pixel_layer(Image.fromarray(to_array(image, 255)), name=name)
        layer.visible = name not in set(hidden)
    with replacing(path) as partial:
        document.save(str(partial))


def _import(module: str, package: str, path: Path):
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise VideoFileError(
            f"{path} cannot be written: the package {package} is not installed here; pip install {package}"
        ) from error
