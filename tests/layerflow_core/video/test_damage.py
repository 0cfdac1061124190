"""Files that were cut or changed on their way: refused, or read as far as they go where that is asked for."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video.completeness import find_cut
from layerflow_core.video.files import read_video

from .clips import greys, images, numbers_in, read, write_video

COUNT = 16
LOSSLESS_VP9 = {"lossless": "1", "deadline": "realtime", "cpu-used": "8", "g": "4"}
VIDEOS = {
    ".webm": ("libvpx-vp9", "yuv420p", LOSSLESS_VP9),
    ".mkv": ("libx264rgb", "rgb24", {"qp": "0", "g": "4"}),
    ".mp4": ("libx264rgb", "rgb24", {"qp": "0", "g": "4"}),
    ".mov": ("prores_ks", "yuv422p10le", {}),
    ".avi": ("mjpeg", "yuvj420p", {}),
}


@pytest.fixture(scope="module", params=VIDEOS)
def video(request, tmp_path_factory):
    codec, form, options = VIDEOS[request.param]
    noise = np.random.default_rng(0).integers(0, 8, (COUNT, 96, 96, 3), dtype=np.uint8)
    frames = [array + extra for array, extra in zip(greys(COUNT, 96, 96), noise)]
    path = tmp_path_factory.mktemp("videos") / f"a{request.param}"
    container = {"movflags": "+faststart"} if request.param in (".mp4", ".mov") else {}
    return write_video(path, frames, codec, form, options=options, container_options=container)


def cut(path, share, folder):
    data = path.read_bytes()
    short = folder / path.name
    short.write_bytes(data[: int(len(data) * share)])
    return short


def test_a_whole_video_is_whole(video, caplog):
    assert find_cut(video) is None
    assert len(read_video(video).colour) == COUNT
    assert not caplog.records


@pytest.mark.parametrize("share", [0.97, 0.7, 0.4])
def test_a_cut_video_is_refused(video, tmp_path, share):
    with pytest.raises(VideoFileError, match="is damaged or incomplete.*--keep-what-is-there"):
        read_video(cut(video, share, tmp_path))


@pytest.mark.parametrize("share", [0.7, 0.4])
def test_what_is_there_is_kept_when_that_is_asked_for(video, tmp_path, caplog, share):
    footage = read(cut(video, share, tmp_path), keep_what_is_there=True)
    numbers = numbers_in(footage)
    assert 1 <= len(numbers) < COUNT
    assert numbers == list(range(len(numbers)))
    (record,) = caplog.records
    assert f"the {len(numbers)} frames that could be read are kept" in record.getMessage()


def test_garbage_within_a_video_is_not_shown_as_a_image(tmp_path):
    """ffmpeg conceals damage: it shows what it guesses, without a word."""
    path = write_video(
        tmp_path / "whole.mp4", images(12), "libx264", "yuv420p", options={"crf": "10", "g": "12"}
    )
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + len(data) // 3
    data[start : start + 300] = np.random.default_rng(1).bytes(300)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(VideoFileError, match="is damaged or incomplete"):
        read_video(tmp_path / "a.mp4")
    assert len(read(tmp_path / "a.mp4", keep_what_is_there=True).colour) < 12


STILLS = {
    ".png": {},
    ".jpg": {},
    ".tif": {"compression": "tiff_lzw"},
    ".webp": {"lossless": True},
    ".bmp": {},
    ".gif": {},
}


@pytest.mark.parametrize("suffix", STILLS)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_a_cut_image_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    path = tmp_path / f"whole{suffix}"
    Image.fromarray(noise).save(path, **STILLS[suffix])
    data = path.read_bytes()
    short = tmp_path / f"a{suffix}"
    short.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoFileError, match="a" + suffix):
        read_video(short)


def test_a_damaged_image_of_a_sequence_is_named_or_left_out(tmp_path, caplog):
    for number, array in enumerate(greys(4)):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    short = (tmp_path / "2.png").read_bytes()[:60]
    (tmp_path / "2.png").write_bytes(short)
    with pytest.raises(VideoFileError, match=r"2\.png"):
        read_video(tmp_path)
    assert numbers_in(read(tmp_path, keep_what_is_there=True)) == [0, 1, 3]
    assert "left out 1 damaged images, kept 3" in caplog.text


@pytest.mark.parametrize(
    "suffix, options", [(".webp", {"lossless": True}), (".png", {}), (".gif", {})]
)
def test_a_cut_animation(tmp_path, caplog, suffix, options):
    noise = np.random.default_rng(0).integers(0, 8, (8, 32, 32, 3), dtype=np.uint8)
    first, *others = (Image.fromarray(array + extra) for array, extra in zip(greys(8), noise))
    whole = tmp_path / f"whole{suffix}"
    first.save(whole, save_all=True, append_images=others, duration=100, **options)
    short = tmp_path / f"a{suffix}"
    short.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    with pytest.raises(VideoFileError, match="damaged or incomplete"):
        read_video(short)
    caplog.clear()
    numbers = numbers_in(read(short, keep_what_is_there=True))
    assert 1 <= len(numbers) < 8
    assert numbers == list(range(len(numbers)))
    assert "could be read are kept" in caplog.text


@pytest.mark.parametrize(
    "suffix", [".mp4", ".webm", ".mkv", ".mov", ".png", ".gif", ".exr", ".webp", ".tif"]
)
@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"RIFF", b"\x1a\x45\xdf\xa3", b"<html>", b"version https://git-lfs", bytes(4096)],
)
def test_what_is_no_image_at_all(tmp_path, suffix, data):
    (tmp_path / f"a{suffix}").write_bytes(data)
    with pytest.raises(VideoFileError):
        read_video(tmp_path / f"a{suffix}")


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="the ffprobe program is not installed")
def test_ffprobe_counts_the_frames_that_are_kept(video, tmp_path):
    short = cut(video, 0.7, tmp_path)
    command = [
        "ffprobe",
        "-v",
        "quiet",
        "-count_frames",
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
    ]
    told = (
        subprocess.run([*command, str(short)], capture_output=True, text=True)
        .stdout.strip()
        .strip(",")
    )
    kept = len(read(short, keep_what_is_there=True).colour)
    assert 0 <= int(told) - kept <= 2  # the last one may be the piece of a frame
