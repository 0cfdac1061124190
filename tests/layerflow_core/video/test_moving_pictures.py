"""Animations: their delays, their frames, their alpha, against Pillow."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from layerflow_core.video.files import read_video
from layerflow_core.video.moving_pictures import meant_rate

from .clips import as_tensor, greys, numbers_in, read

FORMATS = {".gif": {}, ".webp": {"lossless": True}, ".png": {}, ".apng": {"format": "PNG"}}


def write(path, arrays, duration, **more):
    first, *others = (Image.fromarray(array) for array in arrays)
    options = FORMATS[path.suffix] | more
    first.save(path, save_all=True, append_images=others, duration=duration, loop=0, **options)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("duration, fps", [(100, 10), (40, 25), (500, 2)])
def test_the_delay_is_the_rate(tmp_path, caplog, suffix, duration, fps):
    footage = read_video(write(tmp_path / f"a{suffix}", greys(5), duration))
    assert numbers_in(footage) == list(range(5))
    assert footage.fps == fps
    assert not caplog.records


@pytest.mark.parametrize("suffix", FORMATS)
def test_delays_that_vary_are_said_and_can_be_resampled(tmp_path, caplog, suffix):
    path = write(tmp_path / f"a{suffix}", greys(3), [100, 400, 100])
    assert numbers_in(read_video(path)) == [0, 1, 2]
    assert "varying rates" in caplog.text
    caplog.clear()
    assert numbers_in(read(path, fps=10)) == [0, 1, 1, 1, 1, 2]
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_transparency_is_alpha(tmp_path, suffix):
    arrays = [np.dstack([array, np.full((32, 32), 255, np.uint8)]) for array in greys(3)]
    for number, array in enumerate(arrays):
        array[:, : 8 * (number + 1), 3] = 0
    path = write(tmp_path / f"a{suffix}", arrays, 100, disposal=2) if suffix == ".gif" else write(tmp_path / f"a{suffix}", arrays, 100)
    footage = read_video(path)
    for number, array in enumerate(arrays):
        assert (footage.alpha[number] - as_tensor(array)[3:]).abs().max() == 0


def test_picks(tmp_path):
    path = write(tmp_path / "a.webp", greys(9), 100)
    assert numbers_in(read(path, start=1, every=3, count=2)) == [1, 4]
    assert read(path, width=16).colour.shape == (9, 3, 16, 16)


@pytest.mark.parametrize(
    "durations, fps",
    [
        ([42, 41, 42], Fraction(24)),
        ([33, 34, 33], Fraction(30)),
        ([125] * 8, Fraction(8)),
        ([], None),
        ([0, 0], None),
        ([1e9], None),
    ],
)
def test_rates_that_were_rounded_to_milliseconds(durations, fps):
    assert meant_rate(durations) == fps
