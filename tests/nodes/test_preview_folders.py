import sys

import pytest


@pytest.fixture()
def folders(pack):
    return sys.modules[f"{pack.__name__}.nodes.preview_folders"].PreviewFolders()


def make(folders, root, node, run):
    with folders.making(root, node, run) as partial:
        (partial / "00000.png").write_bytes(b"image")
    return folders.newest


def test_the_last_runs_stay_and_older_ones_go(folders, tmp_path):
    made = [make(folders, tmp_path, "7", f"run {number}") for number in range(50)]
    assert [path.exists() for path in made] == [False] * 30 + [True] * 20


def test_several_nodes_of_a_run_count_once(folders, tmp_path):
    made = [
        make(folders, tmp_path, node, f"run {number}") for number in range(30) for node in "abc"
    ]
    assert [path.exists() for path in made] == [False] * 30 + [True] * 60


def test_what_a_node_still_shows_stays(folders, tmp_path):
    cached = make(folders, tmp_path, "a", "run 0")
    for number in range(1, 60):
        make(folders, tmp_path, "b", f"run {number}")
    assert cached.exists()


def test_folders_of_another_server_are_left_alone(folders, pack, tmp_path):
    other = type(folders)()
    theirs = make(other, tmp_path, "a", "run 0")
    for number in range(60):
        make(folders, tmp_path, "a", f"run {number}")
    assert theirs.exists()


def test_a_failed_preview_leaves_nothing(folders, tmp_path):
    with pytest.raises(ZeroDivisionError):
        with folders.making(tmp_path, "a", "run 0") as partial:
            (partial / "00000.png").write_bytes(b"image")
            raise ZeroDivisionError
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
