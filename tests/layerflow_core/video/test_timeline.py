"""Rates that vary, resampling by time stamps, and what is picked of them."""

from fractions import Fraction

import pytest

from layerflow_core.errors import FrameError
from layerflow_core.video.files import Pick, read_video
from layerflow_core.video.timeline import Timed, Timeline

from .clips import greys, numbers_in, read, write_video

# Half a second at 10 frames a second, then half a second at 40.
SLOW_THEN_FAST = [*range(0, 500, 100), *range(500, 1000, 25)]


@pytest.fixture(scope="module", params=[".mp4", ".mkv", ".mov"])
def varying(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / f"a{request.param}"
    return write_video(path, greys(len(SLOW_THEN_FAST)), rate=40, times=SLOW_THEN_FAST)


def test_a_rate_that_varies_is_said_once_with_both_ends(varying, caplog):
    footage = read_video(varying)
    assert numbers_in(footage) == list(range(25))
    (record,) = caplog.records
    assert "varying rates, from 10 to 40 a second" in record.getMessage()
    assert "set fps to resample" in record.getMessage()


def test_frames_are_resampled_by_their_times(varying, caplog):
    footage = read(varying, fps=20)
    shown_at = [time for time in range(0, 1000, 50)]
    expected = [max(n for n, begin in enumerate(SLOW_THEN_FAST) if begin <= at) for at in shown_at]
    assert numbers_in(footage) == expected
    assert footage.fps == 20
    assert not caplog.records


@pytest.mark.parametrize("fps, count", [(10, 10), (40, 40), (24, 24), (5, 5)])
def test_a_second_stays_a_second(varying, fps, count):
    footage = read(varying, fps=fps)
    assert abs(len(footage.colour) - count) <= 1
    assert footage.fps == fps


def test_picks_are_of_the_resampled_frames(varying):
    every = numbers_in(read(varying, fps=20))
    assert numbers_in(read(varying, fps=20, start=3, every=2, count=4)) == every[3:11:2]
    assert read(varying, fps=20, every=2).fps == 10


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 25, 60, 8])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_an_even_rate_is_not_said_to_vary(tmp_path, caplog, rate, suffix):
    """Matroska rounds times to milliseconds."""
    codec, form = ("libvpx-vp9", "yuv420p") if suffix == ".webm" else ("libx264rgb", "rgb24")
    options = {"deadline": "realtime", "cpu-used": "8"} if suffix == ".webm" else None
    path = write_video(tmp_path / f"a{suffix}", greys(12), codec, form, rate, options=options)
    footage = read_video(path)
    assert len(footage.colour) == 12
    assert abs(footage.fps / Fraction(rate) - 1) < 1e-3
    assert not caplog.records


def test_a_gap_is_held_when_frames_are_resampled():
    frames = [Timed(number, Fraction(time, 10)) for number, time in enumerate((0, 1, 5, 6))]
    kept = list(Timeline(Pick(fps=10), Fraction(10)).kept(frames))
    assert kept == [(0, 1), (1, 4), (2, 1), (3, 1)]


@pytest.mark.parametrize("times", [(0, 0, 0), (3, 2, 1), (None, None, None), (0, None, 0)])
def test_times_that_stand_still_or_go_back_lose_no_frame(times):
    frames = [Timed(n, None if time is None else Fraction(time)) for n, time in enumerate(times)]
    assert [frame for frame, _ in Timeline(Pick(), Fraction(8)).kept(frames)] == [0, 1, 2]
    assert [frame for frame, _ in Timeline(Pick(fps=8), Fraction(8)).kept(frames)] == [0, 1, 2]


def test_pictures_are_resampled_too(tmp_path):
    from PIL import Image

    for number, array in enumerate(greys(4)):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    assert numbers_in(read_video(tmp_path, Fraction(8), Pick(fps=16))) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert numbers_in(read_video(tmp_path, Fraction(8), Pick(fps=4))) == [0, 2]
    assert read(tmp_path, fps=12).fps == 12  # nobody knows another rate


@pytest.mark.parametrize("fps", [-1, 1e9, float("nan"), float("inf"), 1e-9, "1e99999999"])
def test_a_rate_that_is_none_is_refused(fps):
    with pytest.raises(FrameError, match="fps"):
        Pick(fps=fps)
