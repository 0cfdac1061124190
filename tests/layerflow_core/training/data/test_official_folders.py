import json

import pytest
import torch

from layerflow_core.errors import DatasetError
from layerflow_core.training.data.official_folders import OfficialFolder
from layerflow_core.video.png import write_png

ENTRY = {
    "objects": {"1": {"frames": ["00000", "00001", "00002"]}},
    "max_id": "1",
    "fg_prompt": "a dog",
    "bg_prompt": " a lawn",
    "bl_prompt": "both",
}
FOLDERS = {
    "youtubevos": ("JPEGImages/dog", "mask/dog", "impainting/dog"),
    "davis": ("dog/bl", "dog/mask"),
}


@pytest.fixture(params=FOLDERS)
def official(request, tmp_path):
    for number, folder in enumerate(FOLDERS[request.param]):
        for frame in range(3):
            write_png(
                tmp_path / folder / f"{frame:05d}.png", torch.full((3, 8, 10), (number + 1) * 0.2)
            )
    record = tmp_path / "meta.json"
    record.write_text(json.dumps({"videos": {"dog": ENTRY}}))
    return tmp_path, record, request.param


def test_the_official_folders_are_read_as_layers(official):
    clip = OfficialFolder(*official)[0]
    assert clip.prompts == {"foreground": "a dog", "background": " a lawn", "blended": "both"}
    assert {name: round(float(p.mean()), 2) for name, p in clip.layers.items()} == {
        "foreground": 0.2,
        "alpha": 0.4,
        "background": 0.6 if official[2] == "youtubevos" else 0.2,
        "blended": 0.2,
    }
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


@pytest.mark.parametrize("name", ["..", "../dog", "/", "dog/../../dog", "..\\\\dog", "C:", "C:dog"])
def test_a_video_leads_nowhere_but_into_the_dataset(official, name):
    root, record, kind = official
    record.write_text(json.dumps({"videos": {name: ENTRY}}))
    with pytest.raises(DatasetError, match="expected the name of a folder"):
        OfficialFolder(root, record, kind)


def test_a_frame_leads_nowhere_but_into_its_folder(official):
    root, record, kind = official
    write_png(root / "secret.png", torch.ones(3, 8, 10))
    objects = {"1": {"frames": [str(root / "secret.png"), "../../secret"]}}
    record.write_text(json.dumps({"videos": {"dog": {**ENTRY, "objects": objects}}}))
    with pytest.raises(DatasetError, match="frame secret is missing"):
        OfficialFolder(root, record, kind)[0]


WRONG_RECORDS = {
    "a list": "[]",
    "no videos": "{}",
    "videos as text": '{"videos": "dog"}',
    "a video of null": '{"videos": {"dog": null}}',
    "a prompt of null": '{"videos": {"dog": {"objects": {}, "fg_prompt": null}}}',
    "objects as a list": '{"videos": {"dog": {"objects": []}}}',
    "frames as numbers": '{"videos": {"dog": {"objects": {"1": {"frames": [{}]}}}}}',
    "nested deeply": "[" * 100_000,
    "a long number": '{"videos": ' + "9" * 100_000 + "}",
    "a name with NUL": '{"videos": {"a\\u0000b": {"objects": {"1": {"frames": ["1"]}}}}}',
    "a lone surrogate": '{"videos": {"\\ud800": {}}}',
    "a name of 300 letters": json.dumps({"videos": {"x" * 300: ENTRY}}),
}


@pytest.mark.parametrize("text", WRONG_RECORDS.values(), ids=WRONG_RECORDS)
def test_a_record_of_another_shape_is_a_typed_error(official, text):
    root, record, kind = official
    record.write_text(text)
    with pytest.raises(DatasetError, match=r"meta\.json"):
        OfficialFolder(root, record, kind)
