"""OpenEXR's windows, layers and parts, against files that the package OpenEXR writes."""

import numpy as np
import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.video.exr import read_exr
from layerflow_core.video.files import read_video

OpenEXR = pytest.importorskip("OpenEXR")
PLANE = np.random.default_rng(0).random((20, 30)).astype(np.float32)


def header(data, display, **more):
    """Windows as ((left, top), (right, bottom)), both inclusive."""

    def window(corners):
        return tuple(np.array(corner, np.int32) for corner in corners)

    return {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "dataWindow": window(data),
        "displayWindow": window(display),
        **more,
    }


def write(path, channels, data=((0, 0), (29, 19)), display=((0, 0), (29, 19)), **more):
    with OpenEXR.File(header(data, display, **more), channels) as file:
        file.write(str(path))
    return path


def rgba(value=PLANE):
    return {name: value * (number + 1) / 4 for number, name in enumerate("RGBA")}


def test_a_part_of_the_display_window_is_at_its_place(tmp_path):
    path = write(tmp_path / "a.exr", rgba(), ((10, 5), (39, 24)), ((0, 0), (99, 59)))
    layer = read_exr(path)[""]
    assert layer.shape == (4, 60, 100)
    for number, plane in enumerate(rgba().values()):
        assert torch.equal(layer[number, 5:25, 10:40], torch.from_numpy(plane))
    layer[:, 5:25, 10:40] = 0
    assert not layer.any()


def test_overscan_is_cut_off(tmp_path):
    path = write(tmp_path / "a.exr", rgba(), ((-5, -5), (24, 14)), ((0, 0), (19, 9)))
    layer = read_exr(path)[""]
    assert layer.shape == (4, 10, 20)
    assert torch.equal(layer[0], torch.from_numpy(PLANE[5:15, 5:25] / 4))


def test_a_display_window_may_begin_anywhere(tmp_path):
    path = write(tmp_path / "a.exr", rgba(), ((100, 50), (129, 69)), ((98, 49), (137, 78)))
    layer = read_exr(path)[""]
    assert layer.shape == (4, 30, 40)
    assert torch.equal(layer[0, 1:21, 2:32], torch.from_numpy(PLANE / 4))


def test_pixels_beyond_the_display_are_nowhere(tmp_path):
    path = write(tmp_path / "a.exr", rgba(), ((200, 200), (229, 219)), ((0, 0), (19, 9)))
    layer = read_exr(path)[""]
    assert layer.shape == (4, 10, 20)
    assert not layer.any()


def test_a_sequence_shows_the_display_window(tmp_path):
    for number in range(2):
        shift = 10 * number
        data = ((shift, 5), (shift + 29, 24))
        write(tmp_path / f"{number}.exr", rgba(), data, ((0, 0), (99, 59)))
    footage = read_video(tmp_path)
    assert footage.colour.shape == (2, 3, 60, 100)
    assert footage.alpha[0, 0, 5, 0] > 0 == footage.alpha[1, 0, 5, 0]


def test_layers_are_told_apart(tmp_path):
    channels = rgba() | {f"background.{name}": PLANE / 2 for name in "RGB"}
    channels |= {"depth.Z": PLANE, "luma.Y": PLANE / 8}
    layers = read_exr(write(tmp_path / "a.exr", channels))
    assert set(layers) == {"", "background", "luma"}
    assert layers["background"].shape == (3, 20, 30)
    assert torch.equal(layers["luma"], torch.from_numpy(PLANE / 8).expand(3, -1, -1))


def test_parts_are_layers(tmp_path):
    windows = ((0, 0), (29, 19)), ((0, 0), (29, 19))
    first = OpenEXR.Part(header(*windows), rgba(), name="beauty")
    second = OpenEXR.Part(header(*windows), {name: PLANE / 2 for name in "RGB"}, name="sky")
    with OpenEXR.File([first, second]) as file:
        file.write(str(tmp_path / "a.exr"))
    layers = read_exr(tmp_path / "a.exr")
    assert list(layers) == ["", "sky"]
    assert torch.equal(layers["sky"][0], torch.from_numpy(PLANE / 2))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint32])
def test_every_kind_of_number(tmp_path, kind):
    values = (PLANE * 1000).astype(kind)
    layers = read_exr(write(tmp_path / "a.exr", {name: values for name in "RGB"}))
    assert layers[""].dtype == torch.float32
    assert torch.equal(layers[""][0], torch.from_numpy(values.astype(np.float32)))


def test_wide_pixels_become_square(tmp_path):
    path = write(tmp_path / "a.exr", rgba(), pixelAspectRatio=2.0)
    assert read_video(path).colour.shape == (1, 3, 20, 60)


def test_a_file_without_colour_is_named(tmp_path):
    path = write(tmp_path / "a.exr", {"Z": PLANE})
    with pytest.raises(VideoFileError, match="has no layer of R, G and B, or of Y"):
        read_video(path)


def test_a_window_that_will_not_fit_is_refused_before_it_is_filled(tmp_path):
    """A file of 30 x 20 pixels may say that they lie somewhere on a display of any size."""
    path = write(tmp_path / "a.exr", rgba(), display=((0, 0), (60_000, 60_000)))
    with pytest.raises(VideoFileError, match="displayWindow: got 1 frames of 60001 x 60001"):
        read_video(path)
    path = write(tmp_path / "b.exr", rgba(), display=((0, 0), (99_999, 0)))
    with pytest.raises(VideoFileError, match="got a displayWindow of 100000 x 1, expected 1 to 65536"):
        read_video(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_file_is_refused(tmp_path, share):
    data = write(tmp_path / "whole.exr", rgba()).read_bytes()
    path = tmp_path / "a.exr"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoFileError, match=r"a\.exr"):
        read_video(path)
