"""Order of images in a folder, and what of a folder is opened at all."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from layerflow_core.errors import VideoFileError
from layerflow_core.video.files import list_images, read_images, read_video
from layerflow_core.video.listing import check_regular, natural_key

from .clips import greys, numbers_in

ORDERS = [
    ["frame_1.png", "frame_2.png", "frame_10.png", "frame_11.png", "frame_100.png"],
    ["1.png", "2.png", "10.png"],
    ["a1b2.png", "a1b10.png", "a2b1.png"],
    ["Frame_1.png", "frame_2.PNG", "FRAME_3.png"],
    ["shot-9.png", "shot-10.png"],
    ["frame.-2.png", "frame.-1.png", "frame.0.png", "frame.1.png"],
    ["render.0998.png", "render.0999.png", "render.1000.png"],
    ["x 9.png", "x 10.png"],
    ["2024-01-02.png", "2024-01-10.png", "2024-02-01.png"],
]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere.png")


def make_circle(path: Path) -> None:
    path.symlink_to(path)


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.symlink_to(path.parent / "pipe")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 100 letters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD_ENTRIES = [
    make_fifo,
    make_folder,
    make_dangling_link,
    make_circle,
    make_link_to_fifo,
    make_socket,
    link_to_device,
]
needs_posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


@pytest.mark.parametrize("names", ORDERS, ids=lambda names: names[0])
def test_names_are_ordered_as_people_count(tmp_path, names):
    assert sorted(reversed(names), key=natural_key) == names
    for number, name in reversed(list(enumerate(names))):
        Image.fromarray(greys(len(names))[number]).save(tmp_path / name)
    assert [path.name for path in list_images(tmp_path)] == names
    assert numbers_in(read_video(tmp_path)) == list(range(len(names)))


def test_twelve_frames_play_in_order(tmp_path):
    for number, array in enumerate(greys(12)):
        Image.fromarray(array).save(tmp_path / f"frame_{number + 1}.png")
    assert numbers_in(read_video(tmp_path)) == list(range(12))


def test_given_images_keep_the_order_they_are_given_in(tmp_path):
    paths = []
    for number, array in enumerate(greys(3)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(array).save(paths[-1])
    assert numbers_in(read_images(paths[::-1])) == [2, 1, 0]


def test_every_name_has_a_place_of_its_own():
    names = ["a1", "a01", "A1", "a001", "a", "", "1", "01", "٣", "²", "x" * 300, "9" * 300]
    assert len({natural_key(name) for name in names}) == len(names)
    assert sorted(names, key=natural_key) == sorted(names[::-1], key=natural_key)


def test_hidden_files_and_others_are_no_frames(tmp_path):
    Image.fromarray(greys(1)[0]).save(tmp_path / "a.png")
    for name in ("._a.png", ".b.png", "metadata.txt", "Thumbs.db", "a.png.part"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


@needs_posix
@pytest.mark.parametrize("make", ODD_ENTRIES)
def test_what_is_no_file_is_left_out_of_a_folder(tmp_path, caplog, make):
    for number, array in enumerate(greys(2)):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    make(tmp_path / "5.png")
    assert numbers_in(read_video(tmp_path)) == [0, 1]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "left out 1 entries" in message
    assert "5.png" in message


@needs_posix
@pytest.mark.parametrize("suffix", [".png", ".exr", ".tif", ".webp", ".mp4", ".gif", ".unknown"])
@pytest.mark.parametrize("make", ODD_ENTRIES)
def test_what_is_no_file_is_never_opened(tmp_path, make, suffix):
    path = tmp_path / f"a{suffix}"
    make(path)
    with pytest.raises(VideoFileError, match="is not|no images"):
        read_video(path)
    with pytest.raises(VideoFileError, match="is not"):
        check_regular(path)


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000 + ".png", "none.png", ""])
def test_a_path_that_cannot_be_is_a_typed_error(tmp_path, name):
    with pytest.raises(VideoFileError):
        read_video(tmp_path / name)


def test_a_link_to_a_image_is_a_image(tmp_path):
    Image.fromarray(greys(1)[0]).save(tmp_path / "a.png")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.png").symlink_to(tmp_path / "a.png")
    expected = torch.from_numpy(np.full((1, 3, 32, 32), 16 / 255, np.float32))
    assert torch.equal(read_video(tmp_path / "links").colour, expected)


def test_a_folder_of_only_odd_entries_holds_no_images(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(VideoFileError, match="no images"):
        read_video(tmp_path)
