"""Which way up an image or video is shown, against Pillow, PyAV and the ffmpeg program."""

import shutil
import subprocess
from fractions import Fraction
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from layerflow_core.video.files import read_video
from layerflow_core.video.orientation import UPRIGHT, from_exif, from_matrix, pixel_aspect

from .clips import as_tensor, decoded, deep_png, deep_tiff, images, read, set_matrix, write_video

AV_MAJOR = int(version("av").partition(".")[0])
ALL_EIGHT = range(1, 9)
MATRICES = {  # a, b, c, d of MP4's display matrix, and what a decoded frame is to become
    "90": ((0, 1, -1, 0), lambda frames: torch.rot90(frames, -1, (-2, -1))),
    "180": ((-1, 0, 0, -1), lambda frames: torch.rot90(frames, 2, (-2, -1))),
    "270": ((0, -1, 1, 0), lambda frames: torch.rot90(frames, 1, (-2, -1))),
    "mirrored": ((-1, 0, 0, 1), lambda frames: frames.flip(-1)),
    "upside down": ((1, 0, 0, -1), lambda frames: frames.flip(-2)),
    "transposed": ((0, 1, 1, 0), lambda frames: frames.transpose(-2, -1)),
}


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def upright(image: Image.Image) -> torch.Tensor:
    """As Pillow turns it."""
    return as_tensor(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
@pytest.mark.parametrize("orientation", ALL_EIGHT)
def test_images_are_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(images(1)[0])
    options = {"lossless": True} if suffix == ".webp" else {}
    image.save(path, exif=exif_of(orientation).tobytes(), **options)
    with Image.open(path) as saved:
        expected = upright(saved)
    shown = read_video(path).colour[0]
    assert shown.shape[-2:] == ((64, 48) if orientation >= 5 else (48, 64))
    assert torch.equal(shown, expected)


@pytest.mark.parametrize("orientation", ALL_EIGHT)
def test_deep_images_are_upright(tmp_path, orientation):
    array = (images(1)[0].astype(np.uint16)) * 257 + 3
    expected = upright(exif_bearer(array, orientation))
    exif = exif_of(orientation).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.png").write_bytes(deep_png(array, [(b"eXIf", exif)]))
    (tmp_path / "a.tif").write_bytes(deep_tiff(array, {274: orientation}))
    for name in ("a.png", "a.tif"):
        shown = read_video(tmp_path / name).colour[0]
        assert shown.shape == expected.shape, name
        assert (shown - expected).abs().max() < 1 / 255, name


def exif_bearer(array: np.ndarray, orientation: int) -> Image.Image:
    """The image in 8 bits, with the orientation in memory."""
    image = Image.fromarray((array >> 8).astype(np.uint8))
    image.getexif()[0x0112] = orientation
    return image


@pytest.mark.parametrize("orientation", [2, 6, 8])
@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_animations_are_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    first, *others = (Image.fromarray(array) for array in images(3))
    options = {"lossless": True} if suffix == ".webp" else {}
    exif = exif_of(orientation).tobytes()
    first.save(path, save_all=True, append_images=others, duration=100, exif=exif, **options)
    shown = read_video(path).colour
    assert len(shown) == 3
    for frame, array in zip(shown, images(3)):
        assert torch.equal(frame, upright(exif_bearer(array.astype(np.uint16) * 257, orientation)))


@pytest.mark.parametrize("number", [0, 9, -1, None, "6", 6.5, (6,)])
def test_an_orientation_that_is_none_is_upright(number):
    assert from_exif(number) == UPRIGHT


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("name", MATRICES)
def test_videos_are_upright(tmp_path, suffix, name):
    matrix, turn = MATRICES[name]
    path = write_video(tmp_path / f"a{suffix}", images(3))
    set_matrix(path, matrix)
    lying = decoded(path)
    assert lying.shape == (3, 3, 48, 64)
    assert torch.equal(read_video(path).colour, turn(lying))


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg program is not installed")
@pytest.mark.parametrize("name", MATRICES)
def test_videos_are_turned_as_ffmpeg_turns_them(tmp_path, name):
    path = write_video(tmp_path / "a.mp4", images(1))
    set_matrix(path, MATRICES[name][0])
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    shown = read_video(path).colour[0]
    expected = as_tensor(np.frombuffer(raw, np.uint8).reshape(*shown.shape[1:], 3))
    assert (shown - expected).abs().max() < 2 / 255


@pytest.mark.skipif(AV_MAJOR < 15, reason="PyAV 14 copies filtered packets without their new head")
@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_an_orientation_in_the_stream_itself_is_heeded(tmp_path, suffix):
    """H.264 carries one too (SEI display orientation), in whatever container."""
    import av

    plain = write_video(tmp_path / "plain.mp4", images(2), "libx264", "yuv444p")
    path = tmp_path / f"a{suffix}"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        bits = av.bitstream.BitStreamFilterContext(
            "h264_metadata=display_orientation=insert:rotate=90", stream, copy
        )
        for packet in source.demux(stream):
            for turned in bits.filter(packet if packet.size else None):
                turned.stream = copy
                target.mux(turned)
    shown = read_video(path).colour
    expected = torch.rot90(decoded(plain), 1, (-2, -1))
    assert shown.shape == (2, 3, 64, 48)
    assert (shown - expected).abs().mean() < 0.02


def test_a_slanted_video_is_read_lying_and_said_once(tmp_path, caplog):
    path = write_video(tmp_path / "a.mp4", images(3))
    set_matrix(path, (1, 1, -1, 1))
    assert torch.equal(read_video(path).colour, decoded(path))
    assert [record.getMessage().count("turned by") for record in caplog.records] == [1]


def test_turned_frames_are_resized_as_they_are_shown(tmp_path):
    path = write_video(tmp_path / "a.mp4", images(2))
    set_matrix(path, MATRICES["90"][0])
    assert read(path, width=24).colour.shape == (2, 3, 32, 24)
    assert read(path, height=32).colour.shape == (2, 3, 32, 24)


@pytest.mark.parametrize("matrix, size", [(None, (48, 128)), (MATRICES["90"][0], (128, 48))])
def test_pixels_become_square(tmp_path, matrix, size):
    path = write_video(tmp_path / "a.mp4", images(1), aspect=Fraction(2))
    if matrix:
        set_matrix(path, matrix)
    assert read_video(path).colour.shape[-2:] == size


@pytest.mark.parametrize(
    "dpi, size", [((72, 72), (48, 64)), ((100, 200), (48, 128)), ((200, 100), (96, 64))]
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
def test_pixels_of_images_become_square(tmp_path, suffix, dpi, size):
    Image.fromarray(images(1)[0]).save(tmp_path / f"a{suffix}", dpi=dpi)
    assert read_video(tmp_path / f"a{suffix}").colour.shape[-2:] == size


@pytest.mark.parametrize(
    "aspect", [None, Fraction(0), Fraction(1001, 1000), Fraction(100), Fraction(1, 100)]
)
def test_an_aspect_that_no_device_has_is_none(aspect):
    assert pixel_aspect(aspect) == 1


@pytest.mark.parametrize("data", [b"", bytes(36), bytes(35)])
def test_a_matrix_that_says_nothing(data):
    assert from_matrix(data) in (UPRIGHT, None)
