import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture()
def sources(pack):
    return sys.modules[f"{pack.__name__}.nodes.layer_sources"]


@pytest.fixture()
def roots(tmp_path, monkeypatch, host):
    import folder_paths

    made = {}
    for kind in ("input", "output"):
        made[kind] = tmp_path / kind
        made[kind].mkdir()
        monkeypatch.setattr(
            folder_paths, f"get_{kind}_directory", lambda folder=made[kind]: str(folder)
        )
    return made


class CountingCalls:
    """A function, and how often it was called."""

    def __init__(self, function):
        self.function = function
        self.count = 0

    def __call__(self, *arguments, **options):
        self.count += 1
        return self.function(*arguments, **options)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_sequence_is_one_entry_and_nothing_else_is_lost(sources, roots):
    touch(roots["input"], *(f"shot/frame_{number}.png" for number in range(2100)))
    touch(
        roots["input"],
        "shot/metadata.txt",
        "shot/still.jpg",
        "clip.mp4",
        "title.png",
        "deep/er/a.mov",
        ".hidden/x.png",
    )
    touch(
        roots["output"],
        "set/layers.json",
        "set/foreground/00000.png",
        "set/dog.mov",
        ".x.1-2.part/dog.mov",
    )
    assert sources.list_sources() == [
        "clip.mp4 [input]",
        "deep/er/a.mov [input]",
        "shot [input]",
        "shot/still.jpg [input]",
        "title.png [input]",
        "set [output]",
    ]


def test_twenty_thousand_files_are_listed_by_their_folders(roots, pack, monkeypatch):
    """No file is asked for anything: on a network drive every question takes its time."""
    touch(
        roots["input"],
        *(f"shot_{shot}/frame_{number}.png" for shot in range(10) for number in range(1000)),
    )
    touch(roots["input"], *(f"loose_{number}.png" for number in range(10_000)))
    touch(roots["output"], "last.mov")
    folders = 2 + 10
    scan, look = CountingCalls(os.scandir), CountingCalls(os.stat)
    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(os, "stat", look)
    names = pack.NODE_CLASS_MAPPINGS["LoadLayers"].INPUT_TYPES()["required"]["source"][0]
    monkeypatch.undo()
    assert scan.count == folders and look.count <= 2 * folders
    assert len(names) == 10_000 + 10 + 1
    assert names[-1] == "last.mov [output]"


def test_every_listed_name_is_found(sources, roots):
    touch(roots["input"], "a [x].png", "b/1.png", "b/2.png", "c d/é.mov")
    touch(roots["output"], "set/layers.json")
    for name in sources.list_sources():
        assert sources.find_source(name).exists()
    assert sources.find_source("b/1.png [input]").is_file()  # as older graphs have it


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt [input]",
        "a/../../secret.txt [input]",
        "/etc/passwd [input]",
        "..\\secret.txt [input]",
        "C:\\secret.txt [input]",
        "secret.txt [temp]",
        "secret.txt",
        "none.png [input]",
        "a\0b [input]",
        "x" * 5000 + " [input]",
        " [input]",
        ". [output]",
        "./ [input]",
        "",
        None,
        5,
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_a_name_that_leads_elsewhere_is_a_typed_error(sources, roots, name):
    touch(roots["input"].parent, "secret.txt")
    with pytest.raises(Exception, match="is not there, expected") as caught:
        sources.find_source(name)
    assert type(caught.value).__name__ == "VideoFileError"
    assert isinstance(sources.fingerprint(name), str)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_circles_of_links(sources, roots):
    touch(roots["input"], "a.mov")
    os.mkfifo(roots["input"] / "pipe.png")
    (roots["input"] / "circle").symlink_to(roots["input"], target_is_directory=True)
    (roots["input"] / "broken.png").symlink_to(roots["input"] / "nowhere.png")
    assert sources.list_sources() == ["a.mov [input]"]
    with pytest.raises(Exception, match="is not there"):
        sources.find_source("pipe.png [input]")


def test_whatever_a_set_points_at_is_part_of_what_has_changed(sources, roots, call):
    layers = call("LayerFlowSampleClip", seed=5)[8]
    folder = Path(
        call("SaveLayers", layers=layers, filename_prefix="set", format="PNG 8 bit", opaque="none")[
            "result"
        ][0]
    )
    assert folder.parent == roots["output"]
    name = f"{folder.name} [output]"
    before = sources.fingerprint(name)
    assert sources.fingerprint(name) == before

    image = folder / "foreground" / "00000.png"
    Image.fromarray(np.full((64, 96, 4), 255, np.uint8)).save(image)
    os.utime(image, (1, 1))
    assert sources.fingerprint(name) != before
    assert sources.fingerprint(f"{folder.name}/layers.json [output]") == sources.fingerprint(name)
    loaded = call("LoadLayers", source=name)
    loaded = loaded["result"] if isinstance(loaded, dict) else loaded
    assert loaded[1][0].min() == 1  # the new image, not the old one


def test_a_sequence_and_a_file_change(sources, roots):
    touch(roots["input"], "shot/1.png", "shot/2.png", "a.mov")
    before = {name: sources.fingerprint(name) for name in sources.list_sources()}
    touch(roots["input"], "shot/3.png")
    os.utime(roots["input"] / "a.mov", (1, 1))
    assert all(sources.fingerprint(name) != state for name, state in before.items())
