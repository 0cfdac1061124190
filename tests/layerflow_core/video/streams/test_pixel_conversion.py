"""Colours between RGB and what encoders take, against the matrices of the standards."""

from fractions import Fraction

import numpy as np
import pytest

from layerflow_core.video.streams.pixel_conversion import PixelConversion

av = pytest.importorskip("av")
RED = np.zeros((4, 4, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


def test_rgb_becomes_limited_bt709():
    frame = PixelConversion("yuv444p").convert(av.VideoFrame.from_ndarray(RED, format="rgb24"))
    y, cb, cr = (plane[0, 0] for plane in frame.to_ndarray())
    assert (y, cb, cr) == pytest.approx(
        (16 + 219 * 0.2126, 128 - 224 * 0.2126 / 1.8556, 240), abs=1
    )
    assert (frame.colorspace, frame.color_range) == (1, 1)


@pytest.mark.parametrize(("matrix", "red"), [(1, (63, 102, 240)), (6, (81, 90, 240))])
def test_a_frame_is_read_by_its_own_matrix(matrix, red):
    frame = av.VideoFrame.from_ndarray(
        np.zeros((3, 4, 4), np.uint8) + np.array(red, np.uint8)[:, None, None], format="yuv444p"
    )
    frame.colorspace, frame.color_range = matrix, 1
    assert np.abs(PixelConversion("rgb24").convert(frame).to_ndarray().astype(int) - RED).max() <= 3


def test_times_stay_and_sizes_may_change():
    conversion = PixelConversion("yuv420p")
    for number, size in enumerate((4, 4, 8)):
        frame = av.VideoFrame(size, size, "rgb24")
        frame.pts, frame.time_base = number, Fraction(1001, 24000)
        converted = conversion.convert(frame)
        assert (converted.pts, converted.time_base, converted.width) == (
            number,
            Fraction(1001, 24000),
            size,
        )
