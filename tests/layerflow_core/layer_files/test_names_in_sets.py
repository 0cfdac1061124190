"""A layer's name never decides a path, and no two layers share a file."""

import json
import os
from dataclasses import replace

import av
import pytest
import torch

from layerflow_core.layer_files.extras import EXTRAS
from layerflow_core.layer_files.loading import load_layers
from layerflow_core.layer_files.saving import FORMATS, SaveOptions, replace_layers, save_layers
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.video.formats import LAYERED

NAMES = [
    ("/somewhere/x", "../../../x"),
    ("dog.1", "dog.2"),
    ("Dog", "dog"),
    ("é", "e\u0301"),
    ("background", "residual"),
    ("layers.json", "blended"),
    ("CON", "con."),
    ("a\0b", "x" * 300),
    ("recomposed", "contact_sheet"),
    ("same", "same"),
    ("background.png", "blended.mp4"),
    ("layers.psd", "layers"),
    ("dog.mov", "dog"),
    ("dog", "Dog.MOV "),
]


def make_layers(names) -> LayerVideo:
    """Foregrounds of one colour each, so that a file tells whose it is."""
    foregrounds = []
    for number, name in enumerate(names):
        colour = torch.full((2, 3, 16, 24), (number + 1) / 4)
        foregrounds.append(Foreground(name, colour, torch.full((2, 1, 16, 24), 0.5)))
    background = torch.zeros(2, 3, 16, 24)
    return LayerVideo(tuple(foregrounds), background, background + 0.75, 8.0)


def tree(root) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
    }


FORMS = [
    (FORMATS[0], "PNG 8 bit"),
    ("PNG 8 bit", "PNG 8 bit"),
    ("PNG 8 bit", "H.264 (.mp4)"),
    *((form, "none") for form in LAYERED),
]


@pytest.mark.parametrize("names", NAMES, ids=ascii)
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_every_layer_is_in_its_own_file_inside_the_set(tmp_path, names, form):
    folder = tmp_path / "deep" / "down" / "set"
    save_layers(folder, make_layers(names), SaveOptions(*form))
    assert all(name.startswith(os.path.join("deep", "down", "set")) for name in tree(tmp_path))

    loaded = load_layers(folder)
    assert len(loaded.foregrounds) == 2
    for number, layer in enumerate(loaded.foregrounds):
        assert layer.colour.mean().item() == pytest.approx((number + 1) / 4, abs=0.01)
    assert loaded.background.abs().max() < 0.01
    assert loaded.blended.mean().item() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("names", NAMES, ids=ascii)
def test_the_command_line_writes_inside_its_folder_too(tmp_path, names):
    folder = tmp_path / "deep" / "down" / "out"
    extras = SaveOptions(extras=tuple(EXTRAS))
    replace_layers(folder, make_layers(names), extras)
    assert all(name.startswith(os.path.join("deep", "down", "out")) for name in tree(tmp_path))
    record = json.loads((folder / "layers.json").read_text())
    for number, name in enumerate(record["foregrounds"]):
        with av.open(str(folder / record["files"][name])) as container:
            image = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert image.mean() / 255 == pytest.approx((number + 1) / 4, abs=0.02)


def test_harmless_names_are_kept(tmp_path):
    save_layers(tmp_path / "set", make_layers(["a red dog", "Hund.2"]), SaveOptions())
    assert [layer.name for layer in load_layers(tmp_path / "set").foregrounds] == [
        "a red dog",
        "Hund.2",
    ]
    assert {"a red dog.mov", "Hund.2.mov"} <= set(os.listdir(tmp_path / "set"))


def test_a_set_takes_the_next_folder_when_its_own_is_taken(tmp_path):
    folders = [tmp_path / f"x_{number}" for number in range(3)]
    layers = make_layers(["dog"])
    for number, folder in enumerate(folders):
        paths = save_layers(
            folders[0], replace(layers, fps=float(number + 1)), SaveOptions(), others=folders[1:]
        )
        assert {path.parent for path in paths} == {folder}
    rates = [json.loads((folder / "layers.json").read_text())["fps"] for folder in folders]
    assert rates == ["1/1", "2/1", "3/1"]
