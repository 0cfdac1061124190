"""What is picked of a file, in numbers."""

from fractions import Fraction

import pytest
import torch
from PIL import Image

from layerflow_core.errors import FrameError, VideoFileError
from layerflow_core.video.files import FrameSelection, read_images

from .clips import greys, numbers_in, read, write_video

ITEMS = list(range(23))


@pytest.mark.parametrize("start", [0, 1, 7, 30])
@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 4, 50])
def test_frames_are_those_of_a_slice(start, every, count):
    selection = FrameSelection(start, every, count)
    expected = ITEMS[start::every][: count or None]
    assert list(selection.of(ITEMS)) == expected
    assert [
        n for first in range(0, 23, 6) for n in selection.numbers(first, min(23, first + 6))
    ] == expected
    assert len(selection.numbers(0, 23)) == len(expected)


@pytest.mark.parametrize(
    "rate, fps, expected",
    [
        (10, 20, [0, 0, 1, 1, 2, 2]),
        (20, 10, [0, 2, 4]),
        (8, 12, [0, 0, 1, 2, 2, 3, 4, 4, 5]),
        (Fraction(24000, 1001), 24, [0, 0, 1, 2, 3, 4, 5]),
    ],
)
def test_images_of_a_known_rate_are_resampled(rate, fps, expected):
    frames = list(FrameSelection(fps=fps).of(range(6), Fraction(rate)))
    assert frames[: len(expected)] == expected[: len(frames)]
    assert abs(len(frames) - 6 * fps / rate) < 1


def test_the_rate_that_is_left():
    assert FrameSelection(every=3).rate(Fraction(24)) == 8
    assert FrameSelection(every=2, fps=10).rate(Fraction(24)) == 5
    assert FrameSelection(fps=23.976).rate(Fraction(8)) == Fraction(24000, 1001)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": -1},
        {"count": -1},
        {"every": 0},
        {"width": -5},
        {"height": -5},
        {"fps": -1},
        {"fps": 1e9},
        {"fps": float("nan")},
        {"fps": float("inf")},
        {"colours": "BT.2020"},
    ],
)
def test_what_is_no_pick_is_refused(wrong):
    with pytest.raises(FrameError):
        FrameSelection(**wrong)


@pytest.mark.parametrize(
    "asked, size",
    [
        ({}, (48, 64)),
        ({"width": 32}, (24, 32)),
        ({"height": 24}, (24, 32)),
        ({"width": 10, "height": 10}, (10, 10)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_sizes(asked, size):
    assert FrameSelection(**asked).size_of(48, 64) == size
    assert FrameSelection(**asked).sized(torch.rand(4, 48, 64)).shape == (4, *size)


@pytest.mark.parametrize(
    "aspect, size",
    [(Fraction(2), (48, 128)), (Fraction(1, 2), (96, 64)), (Fraction(16, 15), (48, 68))],
)
def test_square_pixels(aspect, size):
    assert FrameSelection().size_of(48, 64, aspect) == size
    assert FrameSelection(height=24).size_of(48, 64, aspect) == (24, round(24 * 64 * aspect / 48))


def test_no_edge_takes_on_a_colour_that_is_not_seen():
    frame = torch.zeros(4, 32, 32)
    frame[0] = 1
    frame[:, :, 16:] = torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None, None]
    frame[3, :, :16] = 1
    small = FrameSelection(width=9).sized(frame)
    seen = small[3] > 0.02
    assert small[1][seen].max() < 0.02
    assert small[0][seen].min() > 0.98


def test_images_get_the_rate_that_is_asked_for(tmp_path):
    paths = []
    for number, array in enumerate(greys(6)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(array).save(paths[-1])
    assert read_images(paths).fps == 8
    assert read_images(paths, selection=FrameSelection(fps=12)).fps == 12
    assert numbers_in(read_images(paths, selection=FrameSelection(fps=12))) == list(range(6))
    resampled = read_images(paths, Fraction(24), FrameSelection(fps=12))
    assert numbers_in(resampled) == [0, 2, 4]
    assert resampled.fps == 12


@pytest.mark.parametrize("start", [10, 99999])
def test_a_start_behind_the_end_is_said(tmp_path, start):
    path = write_video(tmp_path / "a.mp4", greys(10), "libx264", "yuv420p")
    with pytest.raises(VideoFileError, match="fewer than the first one picked"):
        read(path, start=start)
    for number, array in enumerate(greys(3)):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    with pytest.raises(VideoFileError, match="fewer than the first one picked"):
        read(tmp_path, start=start)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".apng", ".webp"])
def test_the_same_picks_of_every_kind_of_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix in (".mp4", ".webm"):
        codec = "libx264" if suffix == ".mp4" else "libvpx-vp9"
        options = None if suffix == ".mp4" else {"lossless": "1"}
        write_video(path, greys(12), codec, "yuv420p", options=options)
    else:
        first, *others = (Image.fromarray(array) for array in greys(12))
        form = {".apng": "PNG"}.get(suffix)
        lossless = {"lossless": True} if suffix == ".webp" else {}
        first.save(path, form, save_all=True, append_images=others, duration=100, **lossless)
    footage = read(path, start=3, every=2, count=3)
    assert numbers_in(footage) == [3, 5, 7]
    assert footage.fps == 5
    assert footage.file_fps == 10
