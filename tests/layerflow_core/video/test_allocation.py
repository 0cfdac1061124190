"""Memory: counted before it is taken, and hardly more of it than the result needs."""

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video import allocation
from layerflow_core.video.allocation import check_room, free_memory
from layerflow_core.video.files import Pick, read_video
from layerflow_core.video.frame_buffer import FrameBuffer

from .clips import greys, numbers_in, png_of, read, write_video

PACK = Path(__file__).parents[3]


@pytest.fixture
def little_memory(monkeypatch):
    """30 MB are free."""
    monkeypatch.setattr(allocation, "free_memory", lambda: 30_000_000)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return write_video(path, greys(30, 240, 320, step=4), "libx264", "yuv420p", options={"preset": "ultrafast"})


def test_free_memory_is_within_the_machine():
    import psutil

    assert 0 < free_memory() <= psutil.virtual_memory().total


def test_a_refusal_has_the_numbers(little_memory):
    check_room(7, 3, 480, 640, "a.mp4")
    with pytest.raises(VideoFileError, match=r"a\.mp4: got 8 frames of 640 x 480 with 3 channels"):
        check_room(8, 3, 480, 640, "a.mp4")
    told = r"120\.0 GB.*0\.0 GB of memory are free; read fewer \(count, every\) or smaller ones"
    with pytest.raises(VideoFileError, match=told):
        check_room(1, 3, 100_000, 100_000, "a.png")


def test_a_video_that_will_not_fit_is_refused_before_any_frame_is_decoded(long_video, little_memory, monkeypatch):
    from layerflow_core.video import decoding

    def refuse(*_):
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr(decoding.StreamDecoder, "frames", refuse)
    with pytest.raises(VideoFileError, match="got 30 frames of 320 x 240"):
        read_video(long_video)


@pytest.mark.parametrize("pick", [{"count": 20}, {"every": 2}, {"start": 20}, {"width": 64}, {"height": 60, "width": 40}])
def test_what_is_picked_of_it_fits(long_video, little_memory, pick):
    expected = list(Pick(**pick).of(range(30)))
    assert len(read(long_video, **pick).colour) == len(expected)


def test_an_animation_and_a_sequence_that_will_not_fit(tmp_path, little_memory):
    first, *others = (Image.fromarray(array) for array in greys(30, 240, 320, step=4))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=100, lossless=True)
    with pytest.raises(VideoFileError, match="a.webp: got 30 frames of 320 x 240"):
        read_video(tmp_path / "a.webp")
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(30):
        first.save(folder / f"{number}.bmp")
    with pytest.raises(VideoFileError, match="frames: got 30 frames of 320 x 240"):
        read_video(folder)


@pytest.mark.parametrize("pick", [{"width": 100_000, "height": 100_000}, {"width": 10_000_000}])
def test_a_size_that_will_not_fit_is_refused(tmp_path, pick):
    Image.fromarray(greys(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(VideoFileError, match="GB of memory are free"):
        read(tmp_path / "a.png", **pick)


def bomb(width, height):
    """A PNG of some bytes that says it is as large as it likes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return png_of([(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")])


@pytest.mark.parametrize("size", [(60_000, 60_000), (1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_bomb_is_refused(tmp_path, size):
    (tmp_path / "a.png").write_bytes(bomb(*size))
    with pytest.raises(VideoFileError, match=r"a\.png"):
        read_video(tmp_path / "a.png")


def test_what_pillow_takes_for_a_bomb_is_a_typed_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(greys(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(VideoFileError, match="too large to be opened as a picture.*make it smaller first"):
        read_video(tmp_path / "a.png")


CHILD = """
import resource, sys
from pathlib import Path
from layerflow_core.video.files import Pick, read_video
import numpy, torch
read_video(Path(sys.argv[1]), pick=Pick(count=2))  # everything that is loaded once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
footage = read_video(Path(sys.argv[1]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(peak * 1024 / footage.colour.nbytes, len(footage.colour))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells no peak of a process this way")
@pytest.mark.parametrize("counted", [True, False], ids=["told how many", "not told"])
def test_the_peak_is_hardly_more_than_the_result(tmp_path, counted):
    path = tmp_path / ("a.mp4" if counted else "a.mkv")
    frame = np.full((360, 640, 3), 90, np.uint8)
    write_video(path, [frame] * 150, "libx264", "yuv420p", 30, options={"preset": "ultrafast"})
    told = subprocess.run([sys.executable, "-c", CHILD, str(path)], cwd=PACK, capture_output=True, text=True, check=True)
    share, frames = told.stdout.split()
    assert int(frames) == 150
    assert float(share) < 1.15


def test_a_buffer_grows_and_shrinks_to_what_came():
    for expected in (None, 1, 3, 100):
        buffer = FrameBuffer("a.mp4", expected)
        for number in range(40):
            buffer.add(torch.full((3, 2, 2), number / 40))
        colour, alpha = buffer.finish()
        assert colour.shape == (40, 3, 2, 2)
        assert alpha is None
        assert torch.equal(colour[:, 0, 0, 0], torch.arange(40) / 40)


def test_alpha_may_begin_late_and_full_alpha_is_none():
    buffer = FrameBuffer("a", 2, drops_full_alpha=True)
    buffer.add(torch.ones(4, 2, 2))
    buffer.add(torch.full((4, 2, 2), 0.5))
    buffer.add(torch.zeros(3, 2, 2))
    _, alpha = buffer.finish()
    assert alpha[:, 0, 0, 0].tolist() == [1, 0.5, 1]
    buffer = FrameBuffer("a", drops_full_alpha=True)
    buffer.add(torch.ones(4, 2, 2))
    assert buffer.finish()[1] is None


def test_sizes_that_differ_are_named():
    buffer = FrameBuffer("frames")
    buffer.add(torch.zeros(3, 4, 6))
    with pytest.raises(VideoFileError, match="got 6 x 4 and 6 x 5"):
        buffer.add(torch.zeros(3, 5, 6))


def test_nothing_is_an_error():
    with pytest.raises(VideoFileError, match="holds no frames"):
        FrameBuffer("a.mp4").finish()


def test_pictures_of_other_sizes_are_brought_to_one_when_asked(tmp_path):
    for number, array in enumerate([*greys(2), *greys(2, 20, 20)]):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    with pytest.raises(VideoFileError, match="different sizes"):
        read_video(tmp_path, Fraction(8))
    assert numbers_in(read(tmp_path, width=8, height=8)) == [0, 1, 0, 1]
