import json

import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.training.data.official_folders import OfficialFolder
from layerflow_core.video.pictures import write_picture

ENTRY = {"objects": {"1": {"frames": ["00000", "00001", "00002"]}}, "max_id": "1", "fg_prompt": "a dog", "bg_prompt": " a lawn", "bl_prompt": "both"}
FOLDERS = {"youtubevos": ("JPEGImages/dog", "mask/dog", "impainting/dog"), "davis": ("dog/bl", "dog/mask")}


@pytest.fixture(params=FOLDERS)
def official(request, tmp_path):
    for number, folder in enumerate(FOLDERS[request.param]):
        for frame in range(3):
            write_picture(tmp_path / folder / f"{frame:05d}.png", torch.full((3, 8, 10), (number + 1) * 0.2))
    record = tmp_path / "meta.json"
    record.write_text(json.dumps({"videos": {"dog": ENTRY}}))
    return tmp_path, record, request.param


def test_the_official_folders_are_read_as_layers(official):
    clip = OfficialFolder(*official)[0]
    assert clip.prompts == {"foreground": "a dog", "background": " a lawn", "blended": "both"}
    assert {name: round(float(p.mean()), 2) for name, p in clip.layers.items()} == {
        "foreground": 0.2, "alpha": 0.4, "background": 0.6 if official[2] == "youtubevos" else 0.2, "blended": 0.2}  # fmt: skip
    assert {len(p) for p in clip.layers.values()} == {3}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bl_prompt": ""}, "bl_prompt is missing or empty"),
        ({"objects": {}}, "no objects with frames"),
        ({"objects": {"1": {"frames": ["00000", "00007"]}}}, "frame 00007 is missing"),
    ],
)
def test_broken_records_are_named(official, change, message):
    root, record, kind = official
    record.write_text(json.dumps({"videos": {"dog": {**ENTRY, **change}}}))
    with pytest.raises(DatasetError, match=message):
        OfficialFolder(root, record, kind)[0]


def test_missing_folders_and_kinds_are_named(official):
    root, record, kind = official
    with pytest.raises(DatasetError, match="unknown folder layout 'vimeo'"):
        OfficialFolder(root, record, "vimeo")
    record.write_text(json.dumps({"videos": {"cat": ENTRY}}))
    with pytest.raises(DatasetError, match="video cat: .* is not there"):
        OfficialFolder(root, record, kind)
