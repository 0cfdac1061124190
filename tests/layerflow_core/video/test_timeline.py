"""Times of frames: rates that vary, resampling, and what is picked of it."""

from fractions import Fraction

import pytest

from layerflow_core.video.files import FrameSelection, read_video
from layerflow_core.video.timeline import Timed, Timeline

from .clips import greys, numbers_in, read, write_video

SLOW_THEN_FAST = [
    *range(0, 500, 100),
    *range(500, 1000, 25),
]  # ms: 5 frames at 10 a second, 20 at 40
AT_20 = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, *range(5, 25, 2)]
CONTAINERS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mov", "libx264", "yuv420p"),
    ("a.mkv", "libx264", "yuv420p"),
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("b.mkv", "ffv1", "yuv420p"),
]


@pytest.fixture(params=CONTAINERS, ids=lambda row: f"{row[0]} {row[1]}")
def uneven(tmp_path, request):
    name, codec, pixel_format = request.param
    options = {"lossless": "1"} if codec == "libvpx-vp9" else None
    frames = greys(25)
    return write_video(tmp_path / name, frames, codec, pixel_format, 1000, SLOW_THEN_FAST, options)


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_varying_rate_is_said_once_with_both_rates(uneven, caplog):
    assert numbers_in(read_video(uneven)) == list(range(25))
    (message,) = messages(caplog)
    assert "from 10 to 40 a second" in message
    assert "set fps" in message


def test_frames_are_resampled_by_their_times(uneven, caplog):
    footage = read(uneven, fps=20)
    assert numbers_in(footage) == AT_20
    assert footage.fps == 20
    assert messages(caplog) == []


@pytest.mark.parametrize(
    "fps, expected",
    [
        (10, [0, 1, 2, 3, 4, 5, 9, 13, 17, 21]),
        (40, [n for n in range(5) for _ in range(4)] + list(range(5, 25))),
        (5, [0, 2, 4, 9, 17]),
        (1, [0]),
    ],
)
def test_other_rates(uneven, fps, expected):
    assert numbers_in(read(uneven, fps=fps)) == expected


@pytest.mark.parametrize(
    "start, count, every", [(0, 7, 1), (5, 3, 2), (9, 0, 4), (19, 1, 1), (0, 100, 3)]
)
def test_picks_are_of_the_resampled_frames(uneven, start, count, every):
    footage = read(uneven, fps=20, start=start, count=count, every=every)
    expected = AT_20[start::every]
    assert numbers_in(footage) == (expected[:count] if count else expected)
    assert footage.fps == Fraction(20) / every


def test_frames_out_of_order_in_the_file_come_by_their_times(tmp_path):
    """B frames: stored in another order than shown."""
    options = {"qp": "0", "bf": "3", "preset": "medium"}
    path = write_video(
        tmp_path / "a.mp4", greys(25), "libx264", "yuv420p", 1000, SLOW_THEN_FAST, options
    )
    assert numbers_in(read(path, fps=20)) == AT_20


@pytest.mark.parametrize(
    "rate", [8, 25, Fraction(24000, 1001), Fraction(30000, 1001), 50, Fraction(60000, 1001), 120]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_an_even_rate_is_exact_and_not_spoken_of(tmp_path, caplog, suffix, rate):
    codec, options = ("libvpx-vp9", {"cpu-used": "8"}) if suffix == ".webm" else ("mpeg4", {})
    path = write_video(tmp_path / f"a{suffix}", greys(20), codec, "yuv420p", rate, options=options)
    footage = read_video(path)
    assert len(footage.colour) == 20
    assert footage.fps == rate
    assert messages(caplog) == []


@pytest.mark.parametrize(
    "to, expected",
    [
        (5, [0, 2, 4, 6, 8]),
        (20, [n for n in range(10) for _ in range(2)]),
        (10, list(range(10))),
    ],
)
def test_even_frames_are_resampled_as_well(tmp_path, to, expected):
    path = write_video(tmp_path / "a.mp4", greys(10), "libx264", "yuv420p", 10)
    assert numbers_in(read(path, fps=to)) == expected


@pytest.mark.parametrize("first", [700, 12345])
def test_times_count_from_the_first_frame(tmp_path, first):
    times = [first + time for time in SLOW_THEN_FAST]
    path = write_video(tmp_path / "a.mkv", greys(25), "libx264", "yuv420p", 1000, times)
    assert numbers_in(read(path, fps=20)) == AT_20


def test_a_gap_is_an_uneven_rate(tmp_path, caplog):
    times = [*range(0, 500, 50), *range(1500, 2000, 50)]
    path = write_video(tmp_path / "a.mp4", greys(20), "libx264", "yuv420p", 1000, times)
    read_video(path)
    assert "from 1 to 20 a second" in messages(caplog)[0] or "from 0.9" in messages(caplog)[0]


def shown(times, fps, durations=None, **selection):
    """Numbers of the frames kept of some at these times."""
    durations = durations or [None] * len(times)
    frames = [
        Timed(number, time, duration)
        for number, (time, duration) in enumerate(zip(times, durations))
    ]
    timeline = Timeline(FrameSelection(fps=fps, **selection), Fraction(10))
    return [frame for frame, count in timeline.kept(frames) for _ in range(count)]


def test_frames_without_times_come_at_the_files_rate():
    assert shown([None] * 4, 20) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_times_that_stand_still_or_go_back_are_made_to_go_on():
    tenth = Fraction(1, 10)
    assert shown([0 * tenth, 0 * tenth, 1 * tenth, 3 * tenth], 10) == [0, 1, 2, 3]


@pytest.mark.parametrize("fps", [10, 30, Fraction(24000, 1001), 60])
def test_a_last_frame_of_one_tick_is_shown(fps):
    times = [Fraction(number) / fps for number in range(4)]
    assert shown(times, fps, [1 / Fraction(fps)] * 3 + [Fraction(1, 90000)]) == [0, 1, 2, 3]


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_rounded_times_show_no_frame_twice(late):
    """The last of 24 frames at 24 a second, rounded to ms, is not the 13th at 12 a second."""
    times = [Fraction(round(number * 1000 / 24), 1000) for number in range(24)]
    durations = [Fraction(42 + late, 1000)] * 24
    assert shown(times, 12, durations) == list(range(0, 24, 2))


def test_the_last_frame_lasts_as_long_as_it_says():
    tenth = Fraction(1, 10)
    assert shown([Fraction(0), tenth], 10, [tenth, 5 * tenth]) == [0, 1, 1, 1, 1, 1]


def test_nothing_behind_the_last_picked_frame_is_looked_at():
    def frames():
        yield from (Timed(number, Fraction(number, 10)) for number in range(4))
        pytest.fail("a fifth frame was decoded")

    for selection in (
        FrameSelection(count=3),
        FrameSelection(fps=10, count=3),
        FrameSelection(fps=5, count=1),
    ):
        assert list(Timeline(selection, Fraction(10)).kept(frames()))


def test_milliseconds_of_matroska_are_no_uneven_rate():
    """1001/24000 s rounded to ms: 41 and 42."""
    timeline = Timeline(FrameSelection(), Fraction(24))
    times = [Fraction(round(number * 1001 / 24), 1000) for number in range(100)]
    list(timeline.kept(Timed(number, time) for number, time in enumerate(times)))
    assert timeline.extremes is None
    assert float(timeline.measured_rate()) == pytest.approx(23.976, abs=0.01)
