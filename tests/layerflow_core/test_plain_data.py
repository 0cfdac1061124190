import json
import os
from dataclasses import dataclass, field

import pytest

from layerflow_core.errors import DatasetError
from layerflow_core.plain_data import (
    Count,
    Name,
    as_record,
    decode,
    mistakes_in,
    parse_json,
    parse_record,
    parse_toml,
    read_bytes,
    read_json,
    read_record,
    read_text,
)


@dataclass(frozen=True)
class Shot:
    name: Name
    frames: Count = 1
    tags: list[str] = field(default_factory=list)


def test_json_round_trip(tmp_path):
    data = {"a": [1, 2.5, None, True, "ä"], "b": {"c": {}}}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data))
    assert read_json(path, DatasetError) == data
    assert parse_json(json.dumps(data), "text", DatasetError) == data


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"name": "dog"}')
    assert read_record(Shot, path, DatasetError) == Shot("dog")
    assert read_text(path, DatasetError) == '{"name": "dog"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        "[" * 100_000,
        '{"a":' * 100_000,
        "[NaN]",
        "[Infinity]",
        "1" * 10_000,
        '["\\ud800"]',
        b"\xff\xfe{\x00}\x00",
        b"[1]\x00",
        "\ud800",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_is_a_typed_error_that_names_the_source(text):
    with pytest.raises(DatasetError, match="clip.json"):
        parse_json(text, "clip.json", DatasetError)


def test_size_is_bounded_before_anything_is_parsed(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" + "1," * 100 + "1]")
    with pytest.raises(DatasetError, match="got 203 bytes, expected 100 at most"):
        read_json(path, DatasetError, largest=100)
    with pytest.raises(DatasetError, match="203 bytes of JSON"):
        parse_json(path.read_text(), "x", DatasetError, largest=100)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "x: got"),
        (None, "got None"),
        ({}, "name: got"),
        ({"name": 3}, "name: got 3"),
        ({"name": ""}, "name: got ''"),
        ({"name": "n" * 1001}, "name: got"),
        ({"name": "dog", "frames": -1}, "frames: got -1"),
        ({"name": "dog", "frames": 2**31}, "frames: got 2147483648"),
        ({"name": "dog", "frames": 1e30}, "frames: got 1e[+]30"),
        ({"name": "dog", "frames": 1.5}, "frames: got 1.5"),
        ({"name": "dog", "tags": "red"}, "tags: got 'red'"),
        ({"name": "dog", "tags": [1]}, r"tags.0: got 1"),
    ],
)
def test_a_record_that_does_not_fit_names_the_field(data, message):
    with pytest.raises(DatasetError, match=message):
        as_record(Shot, data, "x", DatasetError)


def test_messages_stay_short_and_printable():
    with pytest.raises(DatasetError) as caught:
        as_record(
            Shot, {"name": "\x00\u202e" * 5000, "frames": "y" * 5000, "tags": 3}, "x", DatasetError
        )
    text = str(caught.value)
    assert len(text) < 1000
    assert text.isprintable()


def test_unknown_keys_are_left_out():
    assert parse_record(Shot, b'{"name": "dog", "later": 1}', "x", DatasetError) == Shot("dog")


def test_text_that_is_not_utf_8():
    with pytest.raises(DatasetError, match="latest is not text in UTF-8"):
        decode(b"step_\xe9", "latest", DatasetError)


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "a = " + "[" * 100_000, "a = \x00"])
def test_what_is_no_toml_is_a_typed_error(text):
    with pytest.raises(DatasetError, match="run.toml cannot be read as TOML"):
        parse_toml(text, "run.toml", DatasetError)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_bytes(tmp_path / "none", DatasetError)
    with pytest.raises(DatasetError, match="not a regular file"):
        read_bytes(tmp_path, DatasetError)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_bytes(tmp_path / ("n" * 5000), DatasetError)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_bytes(tmp_path / "a\0b", DatasetError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(DatasetError, match="not a regular file"):
        read_bytes(path, DatasetError)


def test_all_mistakes_of_a_record_are_found_with_their_fields():
    @dataclass
    class Record:
        count: Count
        name: Name = "x"

    found = mistakes_in(Record, {"count": -1, "name": ""})
    assert [field for field, _ in found] == ["count", "name"]
    assert "count: got -1" in found[0][1]
    assert mistakes_in(Record, {"count": 1}) == []
