"""Which files are read, and in which order."""

import os
import socket
import subprocess

import numpy as np
import pytest
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video.files import read_video
from layerflow_core.video.listing import check_regular, list_pictures, natural_key

from .clips import greys, numbers_in, read


def write_numbered(folder, names):
    """Pictures that tell their place in ``names``."""
    for name, array in zip(names, greys(len(names))):
        Image.fromarray(array).save(folder / name)


@pytest.mark.parametrize(
    "names",
    [
        [f"frame_{number}.png" for number in range(1, 13)],
        [f"{number}.png" for number in (1, 2, 9, 10, 99, 100)],
        [f"a{number:02d}b.png" for number in (1, 2, 10)],
        ["s1_f2.png", "s1_f10.png", "s2_f1.png"],
        ["a.png", "a1.png", "b.png"],
    ],
)
def test_pictures_come_in_the_order_of_their_numbers(tmp_path, names):
    write_numbered(tmp_path, names)
    assert [path.name for path in list_pictures(tmp_path)] == names
    assert numbers_in(read_video(tmp_path)) == list(range(len(names)))
    assert numbers_in(read(tmp_path, start=1, every=2)) == list(range(1, len(names), 2))


def test_numbers_beyond_any_integer_are_ordered():
    names = [f"{number}.png" for number in (3, 10**30, 2)]
    assert sorted(names, key=natural_key) == ["2.png", "3.png", f"{10**30}.png"]


def test_only_regular_files_are_opened(tmp_path, caplog):
    write_numbered(tmp_path, ["1.png", "2.png"])
    os.mkfifo(tmp_path / "3.png")
    (tmp_path / "4.png").mkdir()
    (tmp_path / "5.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "6.png").symlink_to(tmp_path / "6.png")
    assert numbers_in(read_video(tmp_path)) == [0, 1]
    (record,) = caplog.records
    assert "left out 4 entries that are not regular files, such as 3.png" in record.getMessage()


@pytest.mark.parametrize("suffix", [".png", ".mp4", ".exr", ".tif", ".webp", ".gif"])
def test_a_pipe_is_no_picture_and_no_video(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    with pytest.raises(VideoFileError, match="is not a regular file, expected a video or picture"):
        read_video(path)


def test_devices_and_sockets_are_none_either(tmp_path):
    path = tmp_path / "a.mp4"
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(str(path))
        except OSError:
            pytest.skip("this system has no sockets in the file system")
        with pytest.raises(VideoFileError, match="is not a regular file"):
            check_regular(path)
    (tmp_path / "b.png").symlink_to("/dev/zero")
    with pytest.raises(VideoFileError, match="is not a regular file"):
        read_video(tmp_path / "b.png")


def test_a_link_to_a_picture_is_followed(tmp_path):
    write_numbered(tmp_path, ["1.png"])
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "1.png")
    assert numbers_in(read_video(link)) == [0]


@pytest.mark.parametrize("name", ["nowhere.mp4", "x" * 300 + ".png", "a\0b.png", "nowhere/a.png"])
def test_what_is_not_there_is_said(tmp_path, name):
    with pytest.raises(VideoFileError, match="is not there"):
        read_video(tmp_path / name)


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("a dog")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with pytest.raises(VideoFileError, match="holds no pictures"):
        read_video(tmp_path)


SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif", ".exr", ".mp4"])
def test_a_program_is_never_run(tmp_path, monkeypatch, suffix):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""

    def refuse(*arguments, **options):
        raise AssertionError(f"{arguments} was to be run")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    (tmp_path / f"eps{suffix}").write_bytes(SCRIPT)
    with pytest.raises(VideoFileError):
        read_video(tmp_path / f"eps{suffix}")


@pytest.mark.parametrize("form", ["ICO", "PCX", "TGA", "PPM", "SGI", "ICNS", "DDS"])
def test_formats_that_are_not_listed_are_not_sniffed(tmp_path, form):
    path = tmp_path / "a.png"
    try:
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path, format=form)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow does not write {form}")
    with pytest.raises(VideoFileError):
        read_video(path)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "ffconcat version 1.0\nfile '/etc/passwd'\n"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mov"])
def test_a_list_of_other_files_is_not_followed(tmp_path, text, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text(text)
    with pytest.raises(VideoFileError):
        read_video(path)
