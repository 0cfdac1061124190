"""OpenEXR: windows, parts, layers, and what is refused; files are made by OpenEXR itself."""

import numpy as np
import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.video.exr import read_exr
from layerflow_core.video.files import read_video

OpenEXR = pytest.importorskip("OpenEXR")


def window(left, top, right, bottom):
    return np.array([left, top], np.int32), np.array([right, bottom], np.int32)


def header(display=None, data=None, **more):
    made = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    if display:
        made["displayWindow"] = window(*display)
    if data:
        made["dataWindow"] = window(*data)
    return made | more


def random(height, width, channels=3):
    return np.random.default_rng(4).random((height, width, channels), np.float32)


def write(path, pixels, head, names=("RGB",)):
    """Channels of [H, W, 3 or 4] under these names."""
    channels = {}
    for name in names:
        channels[name if pixels.shape[2] == 3 else name + "A"] = pixels
    OpenEXR.File(head, channels).write(str(path))


WINDOWS = {  # display, data, and the slices where the data lies in the display window, and of the data
    "inside": ((0, 0, 99, 59), (10, 5, 39, 24), np.s_[5:25, 10:40], np.s_[:, :]),
    "the same": ((0, 0, 29, 19), (0, 0, 29, 19), np.s_[:, :], np.s_[:, :]),
    "overscan": ((0, 0, 99, 59), (-10, -5, 109, 64), np.s_[:, :], np.s_[5:65, 10:110]),
    "across a corner": ((0, 0, 99, 59), (-10, -5, 19, 14), np.s_[:15, :20], np.s_[5:, 10:]),
    "shifted origin": ((50, 40, 149, 99), (60, 45, 89, 64), np.s_[5:25, 10:40], np.s_[:, :]),
    "negative origin": ((-50, -30, 49, 29), (-40, -25, -11, -6), np.s_[5:25, 10:40], np.s_[:, :]),
    "one pixel": ((0, 0, 99, 59), (99, 59, 99, 59), np.s_[59:, 99:], np.s_[:, :]),
    "beside": ((0, 0, 99, 59), (200, 200, 209, 209), np.s_[:0, :0], np.s_[:0, :0]),
}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", WINDOWS)
def test_pixels_lie_where_the_windows_say(tmp_path, name, channels):
    display, data, place, part = WINDOWS[name]
    pixels = random(data[3] - data[1] + 1, data[2] - data[0] + 1, channels)
    write(tmp_path / "a.exr", pixels, header(display, data))
    expected = np.zeros(
        (display[3] - display[1] + 1, display[2] - display[0] + 1, channels), np.float32
    )
    expected[place] = pixels[part]
    (image,) = read_exr(tmp_path / "a.exr").values()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_the_door_gives_the_display_window(tmp_path):
    pixels = np.full((20, 30, 4), 0.5, np.float32)
    write(tmp_path / "a.exr", pixels, header((0, 0, 99, 59), (10, 5, 39, 24)))
    footage = read_video(tmp_path / "a.exr")
    assert footage.colour.shape == (1, 3, 60, 100)
    assert footage.alpha.sum() == 0.5 * 20 * 30
    assert footage.alpha[0, 0, 5:25, 10:40].min() == 0.5


def test_frames_whose_data_windows_wander_have_one_size(tmp_path):
    """As a renderer crops each frame to what is in it."""
    for number in range(3):
        left = 10 * number
        pixels = np.ones((20, 30 + number, 4), np.float32)
        write(
            tmp_path / f"{number}.exr",
            pixels,
            header((0, 0, 99, 59), (left, 5, left + 29 + number, 24)),
        )
    footage = read_video(tmp_path)
    assert footage.alpha.shape == (3, 1, 60, 100)
    assert [int(frame.sum()) for frame in footage.alpha] == [600, 620, 640]
    assert [int(frame[0, 10].argmax()) for frame in footage.alpha] == [0, 10, 20]


def test_parts_lie_each_in_its_own_window(tmp_path):
    beauty = random(20, 30)
    mask = random(10, 8)
    parts = [
        OpenEXR.Part(header((0, 0, 99, 59), (10, 5, 39, 24)), {"RGB": beauty}, "beauty"),
        OpenEXR.Part(header((0, 0, 99, 59), (90, 55, 97, 64)), {"RGB": mask}, "glow"),
    ]
    OpenEXR.File(parts).write(str(tmp_path / "a.exr"))
    layers = read_exr(tmp_path / "a.exr")
    assert list(layers) == ["", "glow"]
    assert {tuple(layer.shape) for layer in layers.values()} == {(3, 60, 100)}
    assert np.array_equal(layers[""][:, 5:25, 10:40].permute(1, 2, 0).numpy(), beauty)
    assert np.array_equal(layers["glow"][:, 55:, 90:98].permute(1, 2, 0).numpy(), mask[:5])
    assert layers["glow"][:, :55].abs().sum() == 0


def test_layers_by_name_and_grey(tmp_path):
    colour = random(4, 5)
    grey = random(4, 5, 1)[..., 0]
    channels = {
        "RGB": colour,
        "fg.R": grey,
        "fg.G": grey * 2,
        "fg.B": grey * 3,
        "fg.A": grey,
        "matte.Y": grey,
        "Z": grey,
    }
    OpenEXR.File(header(), channels).write(str(tmp_path / "a.exr"))
    layers = read_exr(tmp_path / "a.exr")
    assert set(layers) == {"", "fg", "matte"}
    assert layers["fg"].shape == (4, 4, 5)
    assert np.array_equal(layers["fg"][1].numpy(), grey * 2)
    assert np.array_equal(layers["matte"].numpy(), np.stack([grey] * 3))


@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 0), (np.float32, 0), (np.uint32, 0)])
def test_values_are_as_stored(tmp_path, dtype, tolerance):
    """Also above 1 and below 0; whole numbers are what they are."""
    values = np.array([[0, 1, 2, 100]], dtype)
    pixels = np.stack([values] * 3, -1)
    write(tmp_path / "a.exr", pixels, header())
    assert read_exr(tmp_path / "a.exr")[""][0, 0].tolist() == [0, 1, 2, 100]


def test_tiles_are_read(tmp_path):
    pixels = random(70, 90)
    tiles = OpenEXR.TileDescription()
    tiles.xSize = 32
    tiles.ySize = 32
    head = header((0, 0, 99, 79), (5, 5, 94, 74), type=OpenEXR.tiledimage, tiles=tiles)
    write(tmp_path / "a.exr", pixels, head)
    image = read_exr(tmp_path / "a.exr")[""]
    assert np.array_equal(image[:, 5:75, 5:95].permute(1, 2, 0).numpy(), pixels)


def test_wide_pixels_become_square(tmp_path):
    write(tmp_path / "a.exr", random(10, 20), header(pixelAspectRatio=2.0))
    assert read_video(tmp_path / "a.exr").colour.shape == (1, 3, 10, 40)


def test_wide_pixels_are_named_where_they_stay(tmp_path, caplog):
    write(tmp_path / "a.exr", random(10, 20), header(pixelAspectRatio=2.0))
    assert read_exr(tmp_path / "a.exr")[""].shape == (3, 10, 20)
    assert "2 times as wide as high" in caplog.text


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_refused(tmp_path, share):
    write(tmp_path / "a.exr", random(40, 40), header())
    data = (tmp_path / "a.exr").read_bytes()
    (tmp_path / "a.exr").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoFileError, match="complete"):
        read_exr(tmp_path / "a.exr")


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.exr").write_bytes(b"no EXR" * 100)
    with pytest.raises(VideoFileError, match="OpenEXR"):
        read_video(tmp_path / "a.exr")


def patch_window(path, name: bytes, corners: tuple[int, int, int, int]) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(name + b"\0box2i\0") + len(name) + len(b"\0box2i\0") + 4
    data[start : start + 16] = np.array(corners, "<i4").tobytes()
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", [b"displayWindow", b"dataWindow"])
@pytest.mark.parametrize(
    "corners",
    [
        (0, 0, 2**31 - 1, 2**31 - 1),
        (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1),
        (0, 0, 65535, 65535),
        (10, 10, 5, 5),
    ],
)
def test_windows_beyond_reason_are_refused(tmp_path, monkeypatch, name, corners):
    monkeypatch.setattr("layerflow_core.video.allocation.free_memory", lambda: 8 * 10**9)
    write(tmp_path / "a.exr", random(8, 8), header())
    patch_window(tmp_path / "a.exr", name, corners)
    with pytest.raises(VideoFileError, match="a.exr"):
        read_exr(tmp_path / "a.exr")


def test_no_colour_is_said(tmp_path):
    OpenEXR.File(header(), {"Z": random(4, 4, 1)[..., 0]}).write(str(tmp_path / "a.exr"))
    with pytest.raises(VideoFileError, match="no layer of R, G and B"):
        read_video(tmp_path / "a.exr")


def test_different_display_windows_are_different_sizes(tmp_path):
    write(tmp_path / "0.exr", random(8, 8), header((0, 0, 19, 9), (0, 0, 7, 7)))
    write(tmp_path / "1.exr", random(8, 8), header((0, 0, 18, 9), (0, 0, 7, 7)))
    with pytest.raises(VideoFileError, match="20 x 10 and 19 x 10"):
        read_video(tmp_path)
    assert torch.is_tensor(read_exr(tmp_path / "0.exr")[""])
