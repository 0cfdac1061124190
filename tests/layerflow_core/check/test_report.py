import json

from layerflow_core.check.report import Report, Row, Table, plainly, without_folders
from layerflow_core.errors import SamplingError

MACHINE = {"system": "Linux", "device": "some card"}


def report(*rows: Row) -> Report:
    return Report(MACHINE, [Table("attention", ("seconds", "difference"), list(rows), "Stopped.")])


def test_text_is_a_table_for_each_case_and_ends_in_a_verdict():
    text = report(Row(("sdpa", "1.0", "0"))).as_text()
    assert "| device | some card |" in text
    assert (
        "| attention | seconds | difference |  |\n|---|---|---|---|\n| sdpa | 1.0 | 0 |  |" in text
    )
    assert "Stopped." in text and text.endswith("Nothing that was measured is wrong.\n")


def test_what_is_wrong_is_said_at_the_end_and_what_is_not_there_is_not():
    wrong = Row(("bf16", "9", "9"), "got an error of 9", True)
    missing = Row(("sage", "-", "-"), "not installed")
    found = report(wrong, missing)
    assert found.failures == ["attention, bf16: got an error of 9"]
    assert found.as_text().endswith("Wrong:\n* attention, bf16: got an error of 9\n")
    assert Report(MACHINE).verdict() == "Nothing was measured."


def test_json_holds_the_same(tmp_path):
    whole = report(Row(("sdpa", "1.0", "0"), "slow"))
    text, data = whole.write(tmp_path / "deep" / "report")
    assert text.name == "report.md" and text.read_text() == whole.as_text()
    table = json.loads(data.read_text())["tables"][0]
    assert table["columns"] == ["seconds", "difference"]
    assert table["rows"] == [{"cells": ["sdpa", "1.0", "0"], "problem": "slow", "failed": False}]


def test_no_folder_of_a_person_is_told():
    assert without_folders("/home/anna/ComfyUI/models/x.pt is damaged") == "x.pt is damaged"
    assert without_folders(r"cannot open C:\Users\anna\x.dll here") == "cannot open x.dll here"
    assert without_folders("23 GB/s, 1/2, a/b") == "23 GB/s, 1/2, a/b"
    assert plainly(SamplingError("got 1, expected 2\nmore")) == "got 1, expected 2"
    assert plainly(OSError("no /opt/a/b.so")) == "OSError: no b.so"
    assert plainly(AssertionError()) == "AssertionError"
