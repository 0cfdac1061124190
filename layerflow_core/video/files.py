"""Video and picture files in, through PyAV, Pillow and OpenEXR.

Alpha travels straight. Frames that nobody asked for are not kept, so memory does not grow with a file's length.

Legend: N frames, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import VideoFileError
from ..rates import exact_rate
from .conversion import Conversion
from .listing import PICTURES, VIDEOS, list_pictures, natural_key
from .pick import ALL, AUTO, COLOURS, Pick
from .pixels import from_array

__all__ = [
    "ALL",
    "AUTO",
    "COLOURS",
    "PICTURES",
    "VIDEOS",
    "Footage",
    "Pick",
    "first_layer",
    "list_pictures",
    "natural_key",
    "read_exr",
    "read_pictures",
    "read_video",
]
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own decoders drop alpha
_DEPTH_16 = b"\x10"  # of a PNG, in the byte after its size


@dataclass(frozen=True)
class Footage:
    """A video that was read.

    Args:
        colour: [N, 3, H, W].
        alpha: [N, 1, H, W], None where the file has none.
        fps: frames a second, exact.
    """

    colour: Tensor
    alpha: Tensor | None
    fps: Fraction


def read_video(path: Path, default_fps: Fraction = Fraction(8), pick: Pick = ALL) -> Footage:
    """Read a video file, a folder of pictures in name order, or one picture.

    Args:
        default_fps: rate of pictures, or of a file that names none.

    Raises:
        VideoFileError: nothing there, no video in it, damaged, or too short for what is picked.
    """
    if path.is_dir():
        return read_pictures(list_pictures(path), default_fps, pick)
    if not path.is_file():
        raise VideoFileError(f"{path} is not there, expected a video file or a folder of pictures")
    if path.suffix.lower() in PICTURES and not _moves(path):
        return read_pictures([path], default_fps, pick)
    return _read_moving(path, default_fps, pick) if path.suffix.lower() in PICTURES else _read_stream(path, default_fps, pick)


def _read_stream(path: Path, default_fps: Fraction, pick: Pick) -> Footage:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoFileError(f"{path} holds no video stream")
            stream = container.streams.video[0]
            fps = stream.average_rate or stream.guessed_rate or default_fps
            frames = list(pick.frames(_decode(container, stream)))
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise VideoFileError(f"{path} cannot be read as a video ({error}); is it complete?") from error
    return _footage(frames, pick.rate(fps), path)


def _decode(container, stream) -> Iterator[Tensor]:
    """Frames [C, H, W] of a stream, four channels where it has alpha."""
    import av

    name = stream.codec_context.name
    if stream.metadata.get("alpha_mode") == "1" and name in _ALPHA_DECODERS:
        decoder = av.CodecContext.create(_ALPHA_DECODERS[name], "r")
        decoder.extradata = stream.codec_context.extradata
        decoded = (frame for packet in container.demux(stream) for frame in decoder.decode(packet if packet.size else None))
    else:
        decoded = container.decode(stream)
    conversion = None
    for frame in decoded:
        conversion = conversion or Conversion(_array_format(frame.format))
        yield from_array(conversion.convert(frame).to_ndarray())


def _array_format(pixel_format) -> str:
    """Frames of 8 bits are read as such: on the way to 16 ffmpeg's scaler would round all of them down."""
    alpha, deep = any(c.is_alpha for c in pixel_format.components), max(c.bits for c in pixel_format.components) > 8
    return {(False, False): "rgb24", (True, False): "rgba", (False, True): "rgb48le", (True, True): "rgba64le"}[alpha, deep]


def _moves(path: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1 and path.suffix.lower() in (".png", ".webp")
    except (OSError, UnidentifiedImageError):
        return False  # no picture of Pillow's; whoever reads it says what is wrong


def _read_moving(path: Path, default_fps: Fraction, pick: Pick) -> Footage:
    """Animated WebP and PNG: ffmpeg reads the first without motion."""
    from PIL import Image

    durations: list[float] = []

    def frames(picture) -> Iterator[Tensor]:
        for number in range(picture.n_frames):
            picture.seek(number)
            array = np.asarray(picture.convert("RGBA"))
            durations.append(float(picture.info.get("duration", 0)))
            yield from_array(array)

    try:
        with Image.open(path) as picture:
            kept = list(pick.frames(frames(picture)))
    except (OSError, EOFError, SyntaxError) as error:
        raise VideoFileError(f"{path} cannot be read as a moving picture: {error}; is it complete?") from error
    return _footage(_without_full_alpha(kept), pick.rate(_meant_rate(durations) or default_fps), path)


def _meant_rate(durations: list[float]) -> Fraction | None:
    """Frames a second of frames that last so many milliseconds each; files may have rounded them to whole ones."""
    whole = sum(durations)
    if not whole:
        return None
    rate = Fraction(1000 * len(durations)) / Fraction(whole)
    near = max(round(rate), 1)
    return Fraction(near) if abs(1000 * len(durations) / near - whole) <= 0.5 else exact_rate(rate)


def read_pictures(paths: list[Path], fps: Fraction = Fraction(8), pick: Pick = ALL) -> Footage:
    """Read these pictures as the frames of a video; raises VideoFileError naming the one that is damaged."""
    frames = [pick.sized(_read_picture(path)) for path in pick.of(paths)]
    if len({f.shape[-2:] for f in frames}) > 1:
        raise VideoFileError(f"{paths[0].parent} holds pictures of different sizes, expected one size")
    return _footage(_without_full_alpha(_equal_channels(frames)), pick.rate(fps), paths[0])


def _equal_channels(frames: list[Tensor]) -> list[Tensor]:
    if len({len(frame) for frame in frames}) < 2:
        return frames
    return [frame if len(frame) == 4 else torch.cat([frame, torch.ones_like(frame[:1])]) for frame in frames]


def _read_picture(path: Path) -> Tensor:
    """[3 or 4, H, W] at the file's own depth."""
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() == ".exr":
        return first_layer(read_exr(path), path)
    try:
        if _is_deep_png(path):
            return _read_deep_png(path)
        with Image.open(path) as picture:
            return from_array(np.asarray(picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise VideoFileError(f"{path} cannot be read as a picture: {error}") from error


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(25)
    return head[:4] == b"\x89PNG" and head[24:25] == _DEPTH_16


def _read_deep_png(path: Path) -> Tensor:
    """16 bits; Pillow would cut them to 8."""
    import av

    try:
        with av.open(str(path)) as container:
            return next(_decode(container, container.streams.video[0]))
    except (av.FFmpegError, StopIteration) as error:
        raise VideoFileError(f"{path} cannot be read as a picture: {error}") from error


def read_exr(path: Path) -> dict[str, Tensor]:
    """Layers of an OpenEXR file by name, each [C, H, W] float32 as stored; '' has the channels without a layer name.

    Raises:
        VideoFileError: OpenEXR is not installed, or the file is damaged.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise VideoFileError(f"{path} cannot be read: the package OpenEXR is not installed here; pip install OpenEXR") from error
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            planes = {name: np.array(channel.pixels, dtype=np.float32) for name, channel in file.channels().items()}
    except (RuntimeError, ValueError) as error:
        raise VideoFileError(f"{path} cannot be read as OpenEXR: {error}; is it complete?") from error
    names = dict.fromkeys(name.rpartition(".")[0] for name in planes)
    layers = {name: [planes[key] for letter in "RGBA" if (key := f"{name}.{letter}" if name else letter) in planes] for name in names}
    return {name: torch.from_numpy(np.stack(found)) for name, found in layers.items() if len(found) in (3, 4)}


def first_layer(layers: dict[str, Tensor], path: Path) -> Tensor:
    """What every program shows of an OpenEXR file; raises VideoFileError if that is no colour."""
    if not layers:
        raise VideoFileError(f"{path} has no layer of R, G and B, expected colour")
    return layers.get("", next(iter(layers.values())))


def _without_full_alpha(frames: list[Tensor]) -> list[Tensor]:
    """Pictures without transparency have no alpha, whatever their file type stores."""
    return [frame[:3] for frame in frames] if all(len(f) == 4 and bool((f[3] == 1).all()) for f in frames) else frames


def _footage(frames: list[Tensor], fps: Fraction, path: Path) -> Footage:
    if not frames:
        raise VideoFileError(f"{path} holds no frames, or fewer than the first one picked")
    pixels = torch.stack(frames)
    return Footage(pixels[:, :3], pixels[:, 3:] if pixels.shape[1] == 4 else None, Fraction(fps))
