"""Pictures at the depth of their file, against Pillow and against the numbers that were written."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video.files import read_video

from .clips import as_tensor, deep_png, deep_tiff, pictures, png_chunks, png_of

RAMP = np.array([[0, 1000, 16600, 33300, 65535]], np.uint16)


def shown(path):
    """[C, H, W] of a picture without alpha."""
    footage = read_video(path)
    assert footage.alpha is None
    return footage.colour[0]


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_grey_of_16_bits_keeps_its_values(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / f"g16{suffix}")
    expected = torch.tensor(RAMP / 65535, dtype=torch.float32).expand(3, -1, -1)
    assert (shown(tmp_path / f"g16{suffix}") - expected).abs().max() < 1e-6


@pytest.mark.parametrize("order", [">", "<"])
def test_grey_tiff_of_either_byte_order(tmp_path, order):
    Image.fromarray(RAMP.astype(f"{order}u2")).save(tmp_path / "a.tif")
    assert (shown(tmp_path / "a.tif")[0] - torch.tensor(RAMP / 65535)).abs().max() < 1e-6


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_keeps_its_values(tmp_path, channels):
    array = np.arange(6 * 8 * channels, dtype=np.uint16).reshape(6, 8, channels) * 331
    (tmp_path / "a.png").write_bytes(deep_png(array))
    (tmp_path / "a.tif").write_bytes(deep_tiff(array, {338: 2} if channels == 4 else None))
    for name in ("a.png", "a.tif"):
        footage = read_video(tmp_path / name)
        assert (footage.colour[0] - as_tensor(array)[:3]).abs().max() < 2e-5, name
        if channels == 4:
            assert (footage.alpha[0] - as_tensor(array)[3:]).abs().max() < 2e-5, name


def test_multiplied_alpha_of_a_tiff_is_made_straight(tmp_path):
    straight = np.full((4, 4, 3), 40000, np.uint16)
    alpha = np.full((4, 4, 1), 32768, np.uint16)
    multiplied = np.concatenate([straight // 2, alpha], 2)
    (tmp_path / "a.tif").write_bytes(deep_tiff(multiplied, {338: 1}))
    footage = read_video(tmp_path / "a.tif")
    assert (footage.colour - 40000 / 65535).abs().max() < 1e-3
    assert (footage.alpha - 0.5).abs().max() < 1e-4


def test_floats_keep_their_values_and_others_are_cut_with_a_word(tmp_path, caplog):
    plane = np.array([[0, 0.25, 0.5, 1]], np.float32)
    Image.fromarray(plane).save(tmp_path / "a.tif")
    assert torch.equal(shown(tmp_path / "a.tif")[0], torch.from_numpy(plane))
    assert not caplog.records
    Image.fromarray(plane * 4 - 1).save(tmp_path / "b.tif")
    assert shown(tmp_path / "b.tif").max() == 1
    assert "its values from -1 to 3 are cut to 0..1" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_is_refused(tmp_path, value):
    Image.fromarray(np.array([[0, value]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(VideoFileError, match="got NaN or infinite pixels"):
        read_video(tmp_path / "a.tif")


def test_whole_numbers_of_32_bits(tmp_path):
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "a.tif")
    assert (shown(tmp_path / "a.tif")[0] - torch.tensor(RAMP / 65535)).abs().max() < 1e-6
    Image.fromarray(RAMP.astype(np.int32) * 10).save(tmp_path / "b.tif")
    with pytest.raises(VideoFileError, match="got whole numbers from 0 to 655350, expected 0 to 65535"):
        read_video(tmp_path / "b.tif")


MODES = {
    ".png": ("1", "L", "P", "RGB", "LA", "RGBA"),
    ".tif": ("1", "L", "P", "RGB", "LA", "RGBA", "PA", "CMYK", "YCbCr"),
    ".jpg": ("L", "RGB", "CMYK", "YCbCr"),
    ".webp": ("RGB", "RGBA"),
    ".gif": ("1", "L", "P", "RGB", "LA", "RGBA"),
    ".bmp": ("1", "L", "P", "RGB", "RGBA"),
}


@pytest.mark.parametrize("suffix, mode", [(suffix, mode) for suffix in MODES for mode in MODES[suffix]])
def test_every_mode_is_as_pillow_shows_it(tmp_path, suffix, mode):
    has_alpha = "A" in mode
    picture = Image.fromarray(pictures(1)[0]).convert("RGBA" if has_alpha else "RGB")
    if has_alpha:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    path = tmp_path / f"a{suffix}"
    picture.convert(mode).save(path)
    with Image.open(path) as saved:
        expected = as_tensor(np.asarray(saved.convert("RGBA")))
    footage = read_video(path)
    alpha = expected[3:] if footage.alpha is None else footage.alpha[0]
    assert (footage.colour[0] - expected[:3]).abs().max() < 1e-6
    assert torch.equal(alpha, expected[3:])


def test_a_palette_with_one_transparent_colour(tmp_path):
    picture = Image.new("P", (4, 2), 1)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "a.png", transparency=0)
    footage = read_video(tmp_path / "a.png")
    assert footage.alpha[0, 0].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]


def test_a_profile_is_applied(tmp_path):
    ImageCms = pytest.importorskip("PIL.ImageCms")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.new("RGB", (4, 4), (64, 128, 192)).save(tmp_path / "a.png", icc_profile=profile.tobytes())
    expected = torch.tensor([64, 128, 192]) / 255
    assert (shown(tmp_path / "a.png")[:, 0, 0] - expected).abs().max() < 2 / 255


def test_a_gamma_that_is_not_applied_is_said(tmp_path, caplog):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    head, *others = png_chunks((tmp_path / "plain.png").read_bytes())
    gamma = (b"gAMA", struct.pack(">I", 100000))
    (tmp_path / "a.png").write_bytes(png_of([head, gamma, *others]))
    read_video(tmp_path / "a.png")
    assert "its gamma of 1 is not applied" in caplog.text


def test_further_pages_are_left_out_with_a_word(tmp_path, caplog):
    first, second = (Image.fromarray(array) for array in pictures(2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert torch.equal(shown(tmp_path / "a.tif"), as_tensor(pictures(2)[0]))
    assert "of its 2 pictures the first is read" in caplog.text


def test_a_picture_that_will_not_fit_is_refused_before_it_is_read(tmp_path):
    """A file of some bytes may say that it is as large as it likes."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png_of([(b"IHDR", head), (b"IDAT", b""), (b"IEND", b"")]))
    with pytest.raises(VideoFileError):
        read_video(tmp_path / "a.png")
