"""Images of every mode and depth, and formats that stay closed, against Pillow and numpy."""

import io
import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile

from layerflow_core.errors import VideoFileError
from layerflow_core.video.files import read_video

from .clips import as_tensor, deep_png, deep_tiff, images, png_chunks, png_of, read

RAMP = [0, 1000, 16600, 33300, 65535]
NOISE = np.random.default_rng(2)


def noise(channels: int, top: int = 255, height: int = 9, width: int = 13) -> np.ndarray:
    dtype = np.uint8 if top == 255 else np.uint16
    return NOISE.integers(0, top + 1, (height, width, channels)).astype(dtype)


def pixels_of(path) -> torch.Tensor:
    """Colour and alpha together, [C, H, W]."""
    footage = read_video(path)
    parts = [footage.colour[0]] + ([footage.alpha[0]] if footage.alpha is not None else [])
    return torch.cat(parts)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_sixteen_bits(tmp_path, suffix):
    path = tmp_path / f"g16{suffix}"
    Image.fromarray(np.array([RAMP], np.uint16)).save(path)
    shown = pixels_of(path)
    assert shown.shape == (3, 1, 5)
    for channel in shown:
        assert channel[0].tolist() == pytest.approx([value / 65535 for value in RAMP], abs=1e-6)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_grey_tiff_of_either_byte_order(tmp_path, order, compression):
    mode = "I;16" if order == "<u2" else "I;16B"
    array = np.array([RAMP], order)
    image = Image.frombytes(mode, (5, 1), array.tobytes())
    image.save(tmp_path / "a.tif", compression=compression)
    assert pixels_of(tmp_path / "a.tif")[0, 0].tolist() == pytest.approx(
        [v / 65535 for v in RAMP], abs=1e-6
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_sixteen_bits(tmp_path, channels):
    array = noise(channels, 65535)
    (tmp_path / "a.png").write_bytes(deep_png(array))
    shown = pixels_of(tmp_path / "a.png").permute(1, 2, 0).numpy() * 65535
    colours = array[..., : channels - 1 + channels % 2]
    expected = np.repeat(colours, 3, -1) if colours.shape[2] == 1 else colours
    if channels in (2, 4):
        expected = np.concatenate([expected, array[..., -1:]], -1)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_sixteen_bits(tmp_path, channels):
    array = noise(channels, 65535)
    tags = {338: 2} if channels == 4 else {}  # straight alpha
    (tmp_path / "a.tif").write_bytes(deep_tiff(array, tags))
    shown = pixels_of(tmp_path / "a.tif").permute(1, 2, 0).numpy() * 65535
    assert np.abs(shown - array).max() <= 1


def test_tiff_of_sixteen_bits_with_multiplied_colour(tmp_path):
    straight = np.array([[[60000, 30000, 10000, 20000], [500, 600, 700, 65535]]], np.float64)
    multiplied = straight.copy()
    multiplied[..., :3] *= straight[..., 3:] / 65535
    (tmp_path / "a.tif").write_bytes(deep_tiff(multiplied.round().astype(np.uint16), {338: 1}))
    shown = pixels_of(tmp_path / "a.tif").permute(1, 2, 0).numpy() * 65535
    assert np.abs(shown - straight).max() <= 4


@pytest.mark.parametrize("values", [[0.0, 0.25, 1.0], [0.0, 0.001, 0.999]])
def test_float_tiff(tmp_path, values):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    assert pixels_of(tmp_path / "a.tif")[1, 0].tolist() == pytest.approx(values)


def test_float_tiff_beyond_white_is_said(tmp_path, caplog):
    Image.fromarray(np.array([[-1, 0.5, 4]], np.float32)).save(tmp_path / "a.tif")
    assert pixels_of(tmp_path / "a.tif")[0, 0].tolist() == [0, 0.5, 1]
    assert "from -1 to 4 are cut" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_float_tiff_of_no_numbers_is_refused(tmp_path, value):
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(VideoFileError, match="NaN or infinite"):
        read_video(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [-1, 70000])
def test_whole_numbers_of_unknown_white_are_refused(tmp_path, value):
    Image.fromarray(np.array([[0, value]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(VideoFileError, match="expected 0 to 65535"):
        read_video(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_modes_of_eight_bits(tmp_path, suffix, mode):
    if (
        suffix == ".webp"
        and mode not in ("RGB", "RGBA")
        or suffix == ".bmp"
        and mode in ("LA", "RGBA")
    ):
        pytest.skip(f"no {mode} in {suffix}")
    image = (
        Image.fromarray(noise(4)).convert("RGB" if mode in ("RGB", "P") else "RGBA").convert(mode)
    )
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    image.save(tmp_path / f"a{suffix}", **options)
    expected = as_tensor(np.asarray(image.convert("RGBA" if mode in ("RGBA", "LA") else "RGB")))
    assert torch.equal(pixels_of(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_alpha(tmp_path, mode):
    image = Image.new(mode, (6, 4))
    image.paste(1 if mode != "RGB" else (1, 1, 1), (0, 0, 3, 4))
    transparent = 0 if mode != "RGB" else (0, 0, 0)
    image.save(tmp_path / "a.png", transparency=transparent)
    alpha = read_video(tmp_path / "a.png").alpha
    assert alpha[0, 0, :, :3].min() == 1
    assert alpha[0, 0, :, 3:].max() == 0


def test_full_alpha_is_none(tmp_path):
    array = noise(4)
    array[..., 3] = 255
    Image.fromarray(array).save(tmp_path / "a.png")
    assert read_video(tmp_path / "a.png").alpha is None


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_cmyk_is_converted_and_said(tmp_path, caplog, suffix):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / f"a{suffix}")
    red, green, blue = pixels_of(tmp_path / f"a{suffix}").mean((1, 2)).tolist()
    assert red < 0.1
    assert min(green, blue) > 0.9
    assert "CMYK" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_colour_profile_is_applied(tmp_path, suffix):
    """Linear light with sRGB's primaries: 0.5 is shown as 0.735."""
    profile = linear_profile()
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.new("RGB", (16, 16), (128, 128, 128)).save(
        tmp_path / f"a{suffix}", icc_profile=profile, **options
    )
    assert float(pixels_of(tmp_path / f"a{suffix}").mean()) == pytest.approx(0.737, abs=0.01)


def linear_profile() -> bytes:
    """sRGB's profile with its curves replaced by straight lines (ICC.1, "curv" of no entries)."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", data, 128)
    for number in range(count):
        name, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + 12] = b"curv" + bytes(8)
        if name == b"desc":
            text = bytes(data[offset : offset + 200])
            end = text.find("sRGB".encode("utf-16-be"))
            data[offset + end : offset + end + 8] = "line".encode("utf-16-be")
    return bytes(data)


def test_a_profile_of_nonsense_is_said(tmp_path, caplog):
    Image.new("RGB", (4, 4), (128, 10, 10)).save(tmp_path / "a.png", icc_profile=b"no profile" * 20)
    assert pixels_of(tmp_path / "a.png")[0, 0, 0] == pytest.approx(128 / 255)
    assert len(caplog.records) <= 1


def test_gamma_that_is_not_applied_is_said(tmp_path, caplog):
    buffer = io.BytesIO()
    Image.fromarray(noise(3)).save(buffer, "PNG")
    chunks = png_chunks(buffer.getvalue())
    chunks.insert(1, (b"gAMA", struct.pack(">I", 100000)))
    (tmp_path / "a.png").write_bytes(png_of(chunks))
    read_video(tmp_path / "a.png")
    assert "gamma of 1" in caplog.text


def test_pages_behind_the_first_are_named(tmp_path, caplog):
    first, *others = (Image.fromarray(array) for array in images(3))
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    assert torch.equal(pixels_of(tmp_path / "a.tif"), as_tensor(images(3)[0]))
    assert "of its 3 images the first is read" in caplog.text


def test_one_warning_for_a_folder(tmp_path, caplog):
    for number in range(4):
        Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / f"{number}.jpg")
    read_video(tmp_path)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_premultiplied_colour_is_made_straight(tmp_path, channels, deep):
    if channels % 2:
        pytest.skip("without alpha nothing is multiplied")
    top = 65535 if deep else 255
    straight = np.full((2, 3, channels), top * 3 // 5)
    straight[..., -1] = top // 2
    stored = straight.copy()
    stored[..., :-1] = stored[..., :-1] * (top // 2) // top
    path = tmp_path / "a.png"
    if deep:
        path.write_bytes(deep_png(stored.astype(np.uint16)))
    else:
        Image.fromarray(stored.astype(np.uint8)).save(path)
    footage = read(path, premultiplied=True)
    assert float(footage.colour.min()) == pytest.approx(0.6, abs=0.01)
    assert float(read(path).colour.max()) == pytest.approx(0.3, abs=0.01)
    assert float(footage.alpha.mean()) == pytest.approx(0.5, abs=0.01)


def ghostscript(ran: str) -> bytes:
    return (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n({ran}) (w) file closefile showpage\n"
    ).encode()


CLOSED = {
    "eps": ghostscript("ran"),
    "eps with a preview": b"\xc5\xd0\xd3\xc6"
    + struct.pack("<IIIIIIH", 32, 90, 0, 0, 0, 0, 0xFFFF)
    + bytes(2)
    + ghostscript("ran"),
    "pdf": b"%PDF-1.4\n1 0 obj <<>> endobj\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "ppm": b"P6 2 2 255\n" + bytes(12),
    "xpm": b'/* XPM */\nstatic char *a[] = {"1 1 1 1", "a c #000000", "a"};',
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "joined": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "fits": b"SIMPLE  =                    T" + b" " * 50,
    "empty": b"",
    "zeros": bytes(5000),
}


def sniffed(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, name)
    return buffer.getvalue()


CLOSED |= {name: sniffed(name) for name in ("TGA", "PCX", "ICO", "ICNS", "SGI", "JPEG2000", "PDF")}


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".gif", ".mp4", ".apng"]
)
@pytest.mark.parametrize("kind", CLOSED)
def test_other_formats_stay_closed_under_any_name(tmp_path, monkeypatch, kind, suffix):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was run")
    )
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(CLOSED[kind])
    with pytest.raises(VideoFileError, match=f"a{suffix}"):
        read_video(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_listed_formats_are_read_under_each_others_names(tmp_path, kind):
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "a", kind)
    for suffix in (".png", ".jpg", ".bmp"):
        path = tmp_path / f"b{suffix}"
        path.write_bytes((tmp_path / "a").read_bytes())
        assert float(pixels_of(path)[:3].mean()) > 0.98


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    "kind", ["png", "deep.png", "jpg", "webp", "gif", "bmp", "tif", "deep.tif"]
)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.97])
def test_a_cut_image_is_refused(tmp_path, monkeypatch, kind, share, lenient):
    """Also where another pack has told Pillow to fill up what is missing with grey."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    array = noise(3, height=64, width=64)
    path = tmp_path / f"a.{kind}"
    if kind == "deep.png":
        path.write_bytes(deep_png(array.astype(np.uint16) * 257))
    elif kind == "deep.tif":
        path.write_bytes(deep_tiff(array.astype(np.uint16) * 257))
    else:
        Image.fromarray(array).save(path)
    read_video(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoFileError, match=kind):
        read_video(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_of_a_folder_the_whole_images_are_kept_on_demand(tmp_path, caplog):
    for number in range(5):
        Image.fromarray(noise(3)).save(tmp_path / f"{number}.png")
    data = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoFileError, match="2.png"):
        read_video(tmp_path)
    assert len(read(tmp_path, keep_what_is_there=True).colour) == 4
    (message,) = [record.getMessage() for record in caplog.records]
    assert "left out 1 damaged images, kept 4" in message
    assert "2.png" in message


def test_damage_within_a_image_is_met(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(noise(3, height=64, width=64)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(VideoFileError, match="a.png"):
        read_video(tmp_path / "a.png")
