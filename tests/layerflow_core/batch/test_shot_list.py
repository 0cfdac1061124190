import json

import pytest

from layerflow_core.batch.shot_list import read_rows
from layerflow_core.errors import BatchError

EXPECTED = {"name": "a", "foreground": "a dog, black", "given": {"blended": "x.mov"}}


def write(tmp_path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_three_formats_say_the_same(tmp_path):
    lists = {
        "a.csv": 'name,foreground,given.blended,steps\na,"a dog, black",x.mov,\n,,,\n',
        "b.csv": "name;foreground;given.blended\na;a dog, black;x.mov\n",
        "c.json": json.dumps([EXPECTED]),
        "d.toml": '[defaults]\nname = "z"\nforeground = "a dog, black"\n[[shots]]\nname = "a"\n'
        'given = {blended = "x.mov"}\n',
    }
    for name, text in lists.items():
        rows = read_rows(write(tmp_path, name, text))
        assert [dict(row.fields) for row in rows] == [EXPECTED], name


def test_a_quoted_cell_may_have_lines_and_the_place_is_that_of_the_file(tmp_path):
    rows = read_rows(write(tmp_path, "a.csv", '\ufeffname,foreground\na,"two\nlines"\nb,c,d\n'))
    assert rows[0].fields["foreground"] == "two\nlines"
    assert rows[1].place == "line 4"
    assert "got 3 cells, expected 2" in rows[1].mistakes[0]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.txt", "", "expected one of .csv, .json, .toml"),
        ("a.csv", "name\n", "got 0 shots"),
        ("a.csv", "name,name\na,b\n", "twice"),
        ("a.csv", "given,given.blended\na,b\n", "twice"),
        ("a.csv", 'name\n"a\n', "not CSV"),
        ("a.json", "{}", "no list of shots"),
        ("a.json", '{"shots": [], "more": 1}', "more"),
        ("a.json", "[", "cannot be read as JSON"),
        ("a.toml", "shots = 3", "no list of shots"),
        ("a.toml", "[[shots]", "cannot be read as TOML"),
    ],
)
def test_what_is_no_list_is_named(tmp_path, name, text, message):
    with pytest.raises(BatchError, match=message):
        read_rows(write(tmp_path, name, text))


def test_a_shot_that_is_no_table_is_one_mistake_among_others(tmp_path):
    rows = read_rows(write(tmp_path, "a.json", '[3, {"name": "b"}]'))
    assert "got 3, expected a table" in rows[0].mistakes[0] and not rows[1].mistakes
