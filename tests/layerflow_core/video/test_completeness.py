"""Files that were cut or damaged: an error, or what is there with one warning; whole ones pass without a word."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video.completeness import find_cut
from layerflow_core.video.files import read_video

from .clips import images, read, write_video

COUNT = 16
FASTSTART = {"movflags": "faststart"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
VIDEOS = {  # codec, pixel format, options of the container
    "h264.mp4": ("libx264", "yuv420p", FASTSTART),
    "gop.mp4": ("libx264", "yuv420p", FASTSTART),
    "tail.mp4": ("libx264", "yuv420p", {}),
    "fragments.mp4": ("libx264", "yuv420p", FRAGMENTS),
    "prores.mov": ("prores_ks", "yuv422p10le", FASTSTART),
    "h264.mkv": ("libx264", "yuv420p", {}),
    "ffv1.mkv": ("ffv1", "yuv420p", {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {}),
    "vp8.webm": ("libvpx", "yuv420p", {}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {}),
    "h264.ts": ("libx264", "yuv420p", {}),
}
ANIMATIONS = ("a.gif", "a.webp", "a.apng")
OPEN_AT_THE_END = {"tail.mp4"}  # the index comes last: nothing can be read of what was cut


def make(path: Path, name: str) -> bytes:
    arrays = [
        array + np.random.default_rng(1).integers(0, 40, array.shape, np.uint8)
        for array in images(COUNT)
    ]
    if name in ANIMATIONS:
        first, *others = (Image.fromarray(array) for array in arrays)
        options = {"lossless": True} if name.endswith("webp") else {}
        form = "PNG" if name.endswith("apng") else None
        first.save(path, form, save_all=True, append_images=others, duration=100, **options)
        return path.read_bytes()
    codec, pixel_format, container_options = VIDEOS[name]
    slow = (
        {"g": "4"}
        if name == "gop.mp4" or name == "fragments.mp4"
        else {"preset": "ultrafast"}
        if "264" in codec
        else {}
    )
    write_video(
        path, arrays, codec, pixel_format, 10, options=slow, container_options=container_options
    )
    return path.read_bytes()


EVERYTHING = [*VIDEOS, *ANIMATIONS]


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_whole_file_is_read_without_a_word(tmp_path, caplog, name):
    make(tmp_path / name, name)
    assert len(read_video(tmp_path / name).colour) == COUNT
    assert not caplog.records
    assert find_cut(tmp_path / name) is None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("name", EVERYTHING)
def test_a_cut_file_is_refused_or_read_with_a_warning(tmp_path, caplog, name, share):
    path = tmp_path / name
    data = make(path, name)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoFileError, match=name):
        read_video(path)
    assert not caplog.records
    if name in OPEN_AT_THE_END:
        return
    try:
        kept = len(read(path, keep_what_is_there=True).colour)
    except VideoFileError:
        assert share <= 0.5  # not even the first frame is there
        return
    assert 1 <= kept <= COUNT
    if share <= 0.7:
        assert kept < COUNT
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"the {kept} frames that could be read are kept" in message


@pytest.mark.parametrize("name", ["ffv1.mkv", "prores.mov", "a.webp", "a.apng"])
def test_the_frames_that_are_kept_are_sound(tmp_path, name):
    path = tmp_path / name
    data = make(path, name)
    whole = read_video(path).colour
    path.write_bytes(data[: int(len(data) * 0.6)])
    kept = read(path, keep_what_is_there=True).colour
    assert 1 < len(kept) < COUNT
    assert torch.equal(kept, whole[: len(kept)])


def test_a_vp9_with_70_percent_of_its_bytes(tmp_path, caplog):
    path = tmp_path / "vp9.webm"
    data = make(path, "vp9.webm")
    path.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(VideoFileError, match="keep_what_is_there .--keep-what-is-there"):
        read_video(path)
    assert 4 < len(read(path, keep_what_is_there=True).colour) < COUNT


@pytest.mark.parametrize("name", ["gop.mp4", "h264.mkv", "h264.ts", "ffv1.mkv"])
def test_frames_that_were_blotted_out_are_met(tmp_path, name):
    """As a disk leaves them: zeros where bytes were."""
    path = tmp_path / name
    data = bytearray(make(path, name))
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(bytes(data))
    with pytest.raises(VideoFileError, match=name):
        read_video(path)


@pytest.mark.parametrize("name", ["h264.mkv", "vp9.webm", "fragments.mp4"])
def test_a_stream_that_never_knew_its_length_is_whole(tmp_path, caplog, name):
    """As recorders and browsers write them: nothing in the head says how long it is."""
    codec, pixel_format, options = VIDEOS[name]
    options = options or {"live": "1"}
    path = write_video(
        tmp_path / name, images(COUNT), codec, pixel_format, options={}, container_options=options
    )
    assert len(read_video(path).colour) == COUNT
    assert not caplog.records


@pytest.mark.parametrize("extra", [bytes(3), bytes(20), b"TAG" + bytes(125)])
@pytest.mark.parametrize("name", ["h264.mp4", "mjpeg.avi", "a.gif", "a.apng"])
def test_bytes_behind_the_end_are_no_fault(tmp_path, caplog, name, extra):
    path = tmp_path / name
    path.write_bytes(make(path, name) + extra)
    assert len(read_video(path).colour) == COUNT
    assert not caplog.records


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_more_is_kept_than_is_asked_for(tmp_path, caplog, name):
    if name in OPEN_AT_THE_END:
        pytest.skip("nothing can be read without its index")
    path = tmp_path / name
    data = make(path, name)
    path.write_bytes(data[: int(len(data) * 0.8)])
    footage = read(path, count=3, keep_what_is_there=True)
    assert 1 <= len(footage.colour) <= 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("length", range(0, 40))
@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.mkv", "mjpeg.avi", "h264.ts", "a.gif", "a.webp", "a.apng"]
)
def test_a_head_alone_is_a_typed_error(tmp_path, name, length, heads):
    path = tmp_path / name
    path.write_bytes(heads[name][:length])
    with pytest.raises(VideoFileError):
        read_video(path)
    with pytest.raises(VideoFileError):
        read(path, keep_what_is_there=True)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    return {name: make(folder / name, name)[:64] for name in EVERYTHING}


HOSTILE = {
    "boxes of no length": b"\0\0\0\x08free" * 2000 + b"\0\0\0\x10ftypisom\0\0\0\0",
    "a box of 2^63 bytes": struct.pack(">I4sQ", 1, b"ftyp", 2**63) + bytes(50),
    "an element of 2^56 bytes": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(50),
    "chunks of nothing": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 5000,
    "a chunk of 2^32 bytes": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR" + bytes(50),
    "blocks of nothing": b"GIF89a\x01\0\x01\0\0\0\0" + b"\x21\xfe\0" * 5000,
    "RIFF of nothing": b"RIFF\0\0\0\0" * 5000,
    "RIFF in RIFF": b"RIFF\x04\0\0\0WEBP" * 5000,
}


@pytest.mark.parametrize("suffix", [".mp4", ".png", ".webp", ".gif"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structures_end_in_a_typed_error(tmp_path, name, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(HOSTILE[name])
    find_cut(path)
    with pytest.raises(VideoFileError):
        read_video(path)


def test_a_gif_whose_trailer_is_missing(tmp_path):
    """Many writers were stopped there; browsers do not mind, but nobody can know what else is missing."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "GIF")
    (tmp_path / "a.gif").write_bytes(buffer.getvalue()[:-1])
    assert find_cut(tmp_path / "a.gif")
