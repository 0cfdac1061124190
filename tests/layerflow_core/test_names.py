import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from layerflow_core.errors import FrameError
from layerflow_core.names import LONGEST_NAME, FileNames, check_name, clean_name

HARMLESS = ["dog", "dog.1", "a red dog", "Hund Ü", "犬", "dog-2_b", "été", "🐕"]
HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "...",
    "/etc/passwd",
    "../../../x",
    "..\\..\\x",
    "C:\\x",
    "C:x",
    "a/b",
    "a\0b",
    "a\nb",
    "\ud800",
    "x" * 300,
    "é" * 200,
    "🐕" * 100,
    "CON",
    "nul.txt",
    "com1",
    "NUL .txt",
    "CONIN$",
    "conout$.png",
    "COM\u00b9",
    "lpt\u00b3.mov",
    "dog.",
    "dog ",
    " dog",
    ".hidden",
    "a:b",
    "a*?",
    '"<>|',
    "50%",
    "a#b",
    "\u202egpj",
    "dog\u200b",
]


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_names_stay(name):
    assert clean_name(name) == name
    assert check_name(name, "layer", FrameError) == name


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_cleaned_name_is_one_part_of_a_path_on_every_system(name, tmp_path):
    cleaned = clean_name(name)
    assert cleaned
    assert len(cleaned.encode()) <= LONGEST_NAME
    assert PurePosixPath(cleaned).name == cleaned
    assert PureWindowsPath(cleaned).name == cleaned
    assert not PureWindowsPath(cleaned).is_reserved()
    assert not cleaned.startswith(".")
    assert clean_name(cleaned) == cleaned
    (tmp_path / cleaned).write_text("x")
    assert os.listdir(tmp_path) == [cleaned]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_typed_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(FrameError, match="layer: got .*expected a name") as caught:
        check_name(name, "layer", FrameError)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_letters_that_were_typed_in_two_parts_are_one():
    assert check_name("e\u0301t\u00e9", "layer", FrameError) == "\u00e9t\u00e9"


def test_names_of_a_folder_do_not_meet_where_case_is_ignored():
    names = FileNames(reserved=["layers.json"])
    wanted = [
        "dog",
        "Dog",
        "DOG",
        "dog_2",
        "é",
        "e\u0301",
        "a/b",
        "a_b",
        "Layers.JSON",
        "straße",
        "STRASSE",
    ]
    claimed = [names.claim(name) for name in wanted]
    assert claimed[:4] == ["dog", "Dog_2", "DOG_3", "dog_2_2"]
    assert len({name.casefold() for name in claimed}) == len(wanted)
    assert "layers.json" not in {name.casefold() for name in claimed}


def test_long_names_get_numbers_too():
    names = FileNames()
    claimed = {names.claim("x" * 300) for _ in range(12)}
    assert len(claimed) == 12
    assert max(len(name) for name in claimed) <= LONGEST_NAME
