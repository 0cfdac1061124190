import json
import os
from fractions import Fraction

import pytest
import torch

from layerflow_core.errors import VideoFileError
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.layer_files.record import RECORD, read_set
from layerflow_core.layer_files.saving import SaveOptions, save_layers
from layerflow_core.layers import Foreground, LayerVideo

from ...peak_memory import limit_memory

SOUND = {
    "files": {"dog": "dog.mov"},
    "foregrounds": ["dog"],
    "alpha": "straight",
    "fps": "24000/1001",
    "format": 1,
}


def write(folder, record):
    path = folder / RECORD
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def test_a_sound_record(tmp_path):
    record = read_set(write(tmp_path, SOUND))
    assert record.foregrounds == ("dog",)
    assert record.files == {"dog": tmp_path / "dog.mov"}
    assert record.fps == Fraction(24000, 1001)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": "1e99999999"},
        {"fps": "1/0"},
        {"fps": 1e30},
        {"fps": None},
        {"foregrounds": []},
        {"foregrounds": ["cat"]},
        {"foregrounds": "dog"},
        {"foregrounds": [None]},
        {"foregrounds": ["dog"] * 10_000},
        {"files": {}},
        {"files": []},
        {"files": {"dog": None}},
        {"files": {"dog": "../dog.mov"}},
        {"files": {"dog": "/etc/passwd"}},
        {"files": {"dog": "a/b.mov"}},
        {"files": {"dog": "a\\b.mov"}},
        {"files": {"dog": ".."}},
        {"files": {"dog": "a\0b"}},
        {"files": {"dog": "x" * 5000}},
        {"alpha": "both"},
        {"alpha": 1},
        {"format": 2},
    ],
    ids=lambda change: ascii(change)[:40],
)
def test_a_record_that_does_not_fit_is_a_typed_error_before_anything_grows(tmp_path, change):
    path = write(tmp_path, SOUND | change)
    with limit_memory(2**27), pytest.raises(VideoFileError, match=RECORD):
        load_layers(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"files": ' * 50_000])
def test_what_is_no_record(tmp_path, text):
    with pytest.raises(VideoFileError, match=RECORD):
        load_layers(write(tmp_path, text))


def test_names_from_a_record_are_cleaned(tmp_path):
    colour = torch.full((2, 3, 16, 24), 0.5)
    saved = tmp_path / "set"
    save_layers(
        saved,
        LayerVideo((Foreground("dog", colour, None),), None, None, 8.0),
        SaveOptions("PNG 8 bit", "none"),
    )
    record = json.loads((saved / RECORD).read_text())
    for name in ("../../x", "/somewhere/x", "a\0b", "y" * 300, "background"):
        write(saved, record | {"foregrounds": [name], "files": {name: "dog"}})
        (layer,) = load_layers(saved).foregrounds
        assert "/" not in layer.name and "\0" not in layer.name and len(layer.name) <= 100
        assert layer.name != "background"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_link_out_of_the_set_is_refused(tmp_path):
    (tmp_path / "secret.mov").write_bytes(b"secret")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "dog.mov").symlink_to(tmp_path / "secret.mov")
    with pytest.raises(VideoFileError, match="names the file"):
        load_layers(write(folder, SOUND))


def test_a_foreground_alone_comes_back_and_has_a_scene(tmp_path, caplog):
    colour = torch.full((3, 3, 16, 24), 0.5)
    layers = LayerVideo(
        (Foreground("dog", colour, torch.full((3, 1, 16, 24), 0.5)),), None, None, 8.0
    )
    save_layers(tmp_path / "set", layers, SaveOptions("PNG 16 bit", "none"))
    back = load_layers(tmp_path / "set")
    assert back.background is None
    assert (back.scene() - 0.25).abs().max() < 1e-3
    assert "over black" in caplog.text
