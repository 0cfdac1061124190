"""Video and picture files in and out, through PyAV and Pillow.

Alpha travels straight. A file is written under a temporary name and renamed, so that it is whole or not there.

Legend: N frames, H height, W width; 0..1, alpha 1 = opaque.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import FrameError, VideoFileError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_LARGEST_RATE_DENOMINATOR = 1001  # 24000/1001 and its kin stay exact


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


def read_video(path: Path, default_fps: Fraction = Fraction(8)) -> Footage:
    """Read a video file, a folder of pictures in name order, or one picture.

    Args:
        default_fps: rate of pictures, or of a file that names none.

    Raises:
        VideoFileError: nothing there, no video in it, or damaged.
    """
    if path.is_dir():
        return read_pictures(_list_pictures(path), default_fps)
    if not path.is_file():
        raise VideoFileError(f"{path} is not there, expected a video file or a folder of pictures")
    return read_pictures([path], default_fps) if path.suffix.lower() in PICTURES else _read_stream(path, default_fps)


def _read_stream(path: Path, default_fps: Fraction) -> Footage:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoFileError(f"{path} holds no video stream")
            stream = container.streams.video[0]
            fps = stream.average_rate or stream.guessed_rate or default_fps
            with_alpha = _has_alpha(stream)
            wanted = "rgba64le" if with_alpha else "rgb48le"
            frames = [frame.to_ndarray(format=wanted) for frame in container.decode(stream)]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise VideoFileError(f"{path} cannot be read as a video ({error}); is it complete?") from error
    if not frames:
        raise VideoFileError(f"{path} holds no frames")
    pixels = torch.from_numpy(np.stack(frames).astype(np.float32) / 65535).permute(0, 3, 1, 2).contiguous()
    return Footage(pixels[:, :3], pixels[:, 3:] if with_alpha else None, Fraction(fps))


def _has_alpha(stream) -> bool:
    pixel_format = stream.codec_context.format
    return pixel_format is not None and any(c.is_alpha for c in pixel_format.components)


def _list_pictures(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not paths:
        raise VideoFileError(f"{folder} holds no pictures, expected frames as {', '.join(sorted(PICTURES))}")
    return paths


def read_pictures(paths: list[Path], fps: Fraction = Fraction(8)) -> Footage:
    """Read these pictures as the frames of a video; raises VideoFileError naming the one that is damaged."""
    from PIL import Image, UnidentifiedImageError

    frames = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                frames.append(np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255)
        except (OSError, UnidentifiedImageError) as error:
            raise VideoFileError(f"{path} cannot be read as a picture: {error}") from error
    if len({f.shape for f in frames}) > 1:
        raise VideoFileError(f"{paths[0].parent} holds pictures of different sizes, expected one size")
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    alpha = pixels[:, 3:]
    return Footage(pixels[:, :3].contiguous(), None if bool((alpha == 1).all()) else alpha.contiguous(), fps)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that is renamed to it when the block ends well, and removed when not.

    Raises:
        VideoFileError: the folder cannot be written to.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise VideoFileError(f"{path} cannot be written: {error}") from error
    finally:
        if partial.exists():  # unlink would complain where the folder itself is none
            partial.unlink()


@dataclass(frozen=True)
class Encoding:
    """A row: how a video file is written.

    Args:
        array_format, top: of the frames handed to the encoder, and their largest value.
    """

    codec: str
    pixel_format: str
    array_format: str
    top: int
    options: Mapping[str, str]


PRORES_4444 = Encoding("prores_ks", "yuva444p10le", "rgba64le", 65535, {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"})
H264 = Encoding("libx264", "yuv420p", "rgb24", 255, {"crf": "12", "preset": "medium", "movflags": "+faststart"})


def write_prores(path: Path, colour: Tensor, alpha: Tensor, fps: float | Fraction) -> None:
    """ProRes 4444 ``.mov`` with straight alpha of 16 bits.

    Args:
        colour: [N, 3, H, W]; alpha: [N, 1, H, W].
    """
    _encode(path, torch.cat([colour, alpha], 1), fps, PRORES_4444)


def write_h264(path: Path, colour: Tensor, fps: float | Fraction) -> None:
    """H.264 ``.mp4`` of an opaque layer, [N, 3, H, W]; odd sizes keep full chroma so that none has to be cut."""
    odd = colour.shape[2] % 2 or colour.shape[3] % 2
    _encode(path, colour, fps, replace(H264, pixel_format="yuv444p") if odd else H264)


def _encode(path: Path, pixels: Tensor, fps: float | Fraction, form: Encoding) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    rate = Fraction(fps).limit_denominator(_LARGEST_RATE_DENOMINATOR)
    array = quantise(pixels, form.top).permute(0, 2, 3, 1).contiguous().numpy()
    try:
        with replacing(path) as partial, av.open(str(partial), "w") as container:
            stream = container.add_stream(form.codec, rate=rate, options=dict(form.options))
            stream.width, stream.height, stream.pix_fmt = pixels.shape[3], pixels.shape[2], form.pixel_format
            context = stream.codec_context
            # BT.709, limited range, and said so: untagged files are guessed at, differently by every program.
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
            for picture in array:
                frame = av.VideoFrame.from_ndarray(picture, format=form.array_format)
                frame = frame.reformat(format=form.pixel_format, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise VideoFileError(f"{path} cannot be written as {form.codec}: {error}") from error


def quantise(pixels: Tensor, top: int) -> Tensor:
    """0..1 to whole numbers 0..top, rounded; uint8 or uint16."""
    whole = (pixels.double().clamp(0, 1) * top).round()
    return whole.to(torch.uint8) if top == 255 else whole.to(torch.int32).to(torch.uint16)


def write_png_sequence(folder: Path, colour: Tensor, alpha: Tensor | None) -> list[Path]:
    """One PNG a frame, ``00000.png`` on, 8 bits, straight alpha."""
    pixels = colour if alpha is None else torch.cat([colour, alpha], 1)
    paths = [folder / f"{i:05d}.png" for i in range(len(pixels))]
    for path, picture in zip(paths, pixels):
        write_picture(path, picture)
    return paths


def write_webp(path: Path, frames: Tensor, fps: float | Fraction) -> None:
    """Animated lossless WebP of [N, 3, H, W], looping."""
    from PIL import Image

    pictures = [Image.fromarray(p.numpy()) for p in quantise(frames, 255).permute(0, 2, 3, 1).contiguous()]
    with replacing(path) as partial:
        pictures[0].save(partial, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, lossless=True)


def write_picture(path: Path, picture: Tensor) -> None:
    """[3 or 4, H, W] 0..1 as the file type that the name says."""
    from PIL import Image

    if picture.ndim != 3 or picture.shape[0] not in (3, 4):
        raise FrameError(f"picture of {list(picture.shape)} met, expected [3 or 4, H, W]")
    array = quantise(picture, 255).permute(1, 2, 0).contiguous().numpy()
    with replacing(path) as partial:
        Image.fromarray(array).save(partial)
