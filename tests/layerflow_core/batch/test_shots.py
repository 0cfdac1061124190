from dataclasses import replace
from pathlib import Path

import pytest

from layerflow_core.batch.checking import read_shots
from layerflow_core.batch.shots import hash_inputs, hash_path, is_done, is_ours
from layerflow_core.errors import VideoFileError


@pytest.fixture
def shot(make_batch):
    batch = make_batch([{"name": "a", "foreground": "a star"}])
    return read_shots(batch.list, batch.out, batch.defaults)[0]


def test_the_hash_is_of_the_inputs_and_not_of_names_and_places(shot, tmp_path):
    first = hash_inputs(shot, "x")
    elsewhere = replace(shot, number=9, name="b", folder=tmp_path / "b")
    assert hash_inputs(elsewhere, "x") == first
    others = [
        replace(shot, seed=1),
        replace(shot, prompts={"foreground": "a moon"}),
        replace(shot, sampler={"steps": 3}),
        replace(shot, saving=replace(shot.saving, frame=1)),
        replace(shot, fit="cover"),
    ]
    hashes = {first, hash_inputs(shot, "y"), *(hash_inputs(other, "x") for other in others)}
    assert len(hashes) == 7


def test_the_hash_follows_the_bytes_of_files(shot, tmp_path):
    video = tmp_path / "v.mp4"
    hashes = []
    for data in (b"one", b"three", b"one"):
        video.write_bytes(data)
        hashes.append(hash_inputs(replace(shot, video=video), ""))
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_folder_is_known_by_names_and_bytes(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"a")
    first = hash_path(folder)
    (folder / "1.png").rename(folder / "2.png")
    assert hash_path(folder) != first
    with pytest.raises(VideoFileError, match="cannot be read"):
        hash_path(tmp_path / "none")


@pytest.mark.parametrize("record", [None, "{}", "[", '{"inputs_sha256": 4}'])
def test_a_folder_without_a_hash_is_not_ours(tmp_path, record):
    folder = Path(tmp_path, "shot")
    folder.mkdir()
    if record is not None:
        (folder / "layers.json").write_text(record)
    assert not is_ours(folder) and not is_done(folder, "0" * 64)
