import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from layerflow_core.atomic import (
    check_room,
    check_writable,
    new_folder,
    numbered,
    remove_abandoned,
    replacing,
    replacing_folder,
)
from layerflow_core.errors import CheckpointError, VideoFileError

PACK = Path(__file__).parents[2]


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    words = [str(argument) for argument in arguments]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=PACK, stdout=subprocess.PIPE, text=True
    )


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "x.mov"
    with replacing(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".mov"
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["x.mov"]


def test_a_failed_block_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.mov"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.mov"]


def test_a_folder_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "step"
    for text in ("old", "new"):
        with replacing_folder(path) as partial:
            (partial / text).write_text(text)
            assert [file.name for file in path.glob("*")] == (["old"] if text == "new" else [])
        assert os.listdir(path) == [text]
        assert os.listdir(path.parent) == ["step"]


def test_a_failed_block_leaves_the_folder_that_was_there(tmp_path):
    path = tmp_path / "step"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_folder(path) as partial:
        (partial / "half").write_text("half")
        raise ZeroDivisionError
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["step"]


def test_partial_weights_do_not_end_like_weights(tmp_path):
    with replacing(tmp_path / "x.safetensors", keep_suffix=False) as partial:
        partial.write_text("x")
        assert partial.suffix == ".part"


def test_two_writers_of_one_process_do_not_share_a_partial_file(tmp_path):
    with replacing(tmp_path / "x") as first, replacing(tmp_path / "x") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "x").read_text() == "1"


def test_errors_are_of_the_callers_kind(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match="cannot be written"):
        with replacing(tmp_path / "file" / "x", CheckpointError) as partial:
            partial.write_text("x")
    with pytest.raises(VideoFileError, match="cannot be written"):
        with new_folder(tmp_path / "file" / "x"):
            pass


def test_names_of_any_length_have_partial_names(tmp_path):
    path = tmp_path / ("é" * 120 + ".png")
    with replacing(path) as partial:
        partial.write_text("x")
    assert path.read_text() == "x"


@pytest.mark.parametrize("content", [["a"], []])
def test_a_folder_that_is_there_is_never_replaced(tmp_path, content):
    (tmp_path / "x").mkdir()
    for name in content:
        (tmp_path / "x" / name).write_text("theirs")
    with pytest.raises(VideoFileError, match="already exists"), new_folder(tmp_path / "x") as new:
        (new.partial / "b").write_text("ours")
    assert os.listdir(tmp_path / "x") == content
    assert os.listdir(tmp_path) == ["x"]


def test_the_first_free_name_is_taken(tmp_path):
    (tmp_path / "x_00001").mkdir()
    (tmp_path / "x_00002").write_text("a file")
    first, *others = islice(numbered(tmp_path, "x"), 5)
    with new_folder(first, others) as new:
        (new.partial / "a").write_text("ours")
    assert new.path == tmp_path / "x_00003"
    assert (new.path / "a").read_text() == "ours"


_RACE = """
import sys
from itertools import islice
from pathlib import Path
from layerflow_core.atomic import new_folder, numbered
root, who = Path(sys.argv[1]), sys.argv[2]
for number in range(40):
    first, *others = islice(numbered(root, "x"), 1000)
    with new_folder(first, others) as new:
        for part in "abc":
            (new.partial / part).write_text(f"{who} {number}")
"""


def test_processes_that_want_one_name_all_get_their_own(tmp_path):
    processes = [run_python(_RACE, tmp_path, who) for who in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    folders = sorted(tmp_path.iterdir())
    assert [folder.name for folder in folders] == [f"x_{number:05d}" for number in range(1, 121)]
    contents = [{(folder / part).read_text() for part in "abc"} for folder in folders]
    assert all(len(content) == 1 for content in contents)  # nothing is mixed
    assert len(set.union(*contents)) == 120  # nothing is lost


_HALF = """
import sys, time
from pathlib import Path
from layerflow_core.atomic import new_folder, replacing
with replacing(Path(sys.argv[1]) / "x.mov") as file, new_folder(Path(sys.argv[1]) / "set") as new:
    file.write_text("half")
    (new.partial / "a").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def leave_halves(folder: Path) -> subprocess.Popen:
    process = run_python(_HALF, folder)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_what_a_killed_process_left_is_removed_by_the_next_one_that_writes(tmp_path):
    process = leave_halves(tmp_path)
    assert len(os.listdir(tmp_path)) == 2
    process.kill()
    process.wait()
    assert len(os.listdir(tmp_path)) == 2
    with replacing(tmp_path / "y.mov") as partial:
        partial.write_text("whole")
    assert os.listdir(tmp_path) == ["y.mov"]


def test_what_a_running_process_writes_is_left_alone(tmp_path):
    process = leave_halves(tmp_path)
    try:
        remove_abandoned(tmp_path)
        assert len(os.listdir(tmp_path)) == 2
    finally:
        process.kill()
        process.wait()


def test_partial_files_of_other_machines_go_when_they_are_old(tmp_path):
    fresh = tmp_path / ".x.00000000-1.0123abcd.part"
    old = tmp_path / ".y.00000000-1.0123abcd.part.mov"
    stranger = tmp_path / ".z.part"
    for path in (fresh, old, stranger):
        path.write_text("half")
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(old, (yesterday, yesterday))
    os.utime(stranger, (yesterday, yesterday))
    remove_abandoned(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [fresh.name, stranger.name]


@pytest.mark.parametrize(
    "name", ["x" * 5000, "/".join(["x" * 200] * 30)], ids=["one name", "a path"]
)
def test_names_that_are_too_long_are_typed_errors(name, tmp_path):
    with pytest.raises(VideoFileError, match="cannot be written"):
        check_writable(tmp_path / name)
    with (
        pytest.raises(VideoFileError, match="cannot be written"),
        replacing(tmp_path / name / "a.mp4"),
    ):
        pass
    with (
        pytest.raises(VideoFileError, match="cannot be written"),
        new_folder(tmp_path / name / "set"),
    ):
        pass
    assert not list(tmp_path.rglob(".*"))


def test_a_place_is_tried_without_a_trace(tmp_path):
    (tmp_path / "file").write_text("x")
    check_writable(tmp_path / "new" / "deep")
    with pytest.raises(VideoFileError, match="cannot be written"):
        check_writable(tmp_path / "file" / "deep")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_room_is_counted_before_anything_is_written(tmp_path):
    check_room(tmp_path / "deep" / "file", 1, VideoFileError)
    with pytest.raises(VideoFileError, match=r"takes 1000000000.0 GB, .* GB are free there"):
        check_room(tmp_path / "deep" / "file", 10**18, VideoFileError)
    assert list(tmp_path.iterdir()) == []
