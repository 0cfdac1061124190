import csv
import json

import pytest

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.measures import Figures
from layerflow_core.evaluation.tables import (
    MeasuredRun,
    MeasuredSet,
    Summary,
    list_figures,
    shorten,
    summarise,
    write_markdown,
    write_tables,
)

FIRST = MeasuredRun(
    "first",
    (
        MeasuredSet("a", Figures({"recomposition_psnr": 30.0, "alpha_flicker": 0.5})),
        MeasuredSet("b", Figures({"recomposition_psnr": 34.0}, {"alpha_flicker": "one frame"})),
        MeasuredSet("c", Figures(), "c is damaged"),
    ),
)
SECOND = MeasuredRun("a|b <i>", (MeasuredSet(".", Figures({"recomposition_psnr": 20.0})),))


def test_mean_spread_and_count():
    assert summarise([30.0, 34.0]) == Summary(32.0, pytest.approx(8**0.5), 2)
    assert summarise([5.0]) == Summary(5.0, 0.0, 1)
    assert FIRST.summary()["recomposition_psnr"].count == 2
    assert (
        str(summarise([30.0, 34.0])) == "32.00 ± 2.828 (2)" and str(summarise([5.0])) == "5.000 (1)"
    )


@pytest.mark.parametrize(
    "value, text",
    [(0, "0.000"), (0.01234, "0.012"), (-1.5, "-1.500"), (23.6827, "23.68"), (123456.7, "123457")],
)
def test_digits(value, text):
    assert shorten(value) == text


def test_one_result_is_listed():
    assert list_figures(FIRST.sets[1].figures) == (
        "recomposition_psnr: 34.00\nalpha_flicker: – (one frame)"
    )


def test_markdown_has_a_row_for_each_run_and_says_what_is_missing():
    page = write_markdown([FIRST, SECOND])
    assert "| first | 32.00 ± 2.828 (2) |" in page
    assert "| a\\|b &lt;i> | 20.00 (1) |" in page
    assert "PSNR, dB ↑" in page and "flicker x 1000 ↓" in page
    assert "* first, c: c is damaged" in page
    assert "* first, 1 of 3, alpha_flicker: one frame" in page
    assert "LPIPS" not in page, "columns without a value are not there"


def test_files_hold_the_same_figures(tmp_path):
    written = write_tables([FIRST, SECOND], tmp_path)
    assert [path.name for path in written] == [
        "evaluation.md",
        "evaluation.csv",
        "evaluation_sets.csv",
        "evaluation.json",
    ]
    rows = list(csv.DictReader((tmp_path / "evaluation.csv").open()))
    assert [row["run"] for row in rows] == ["first", "a|b <i>"]
    assert float(rows[0]["recomposition_psnr mean"]) == 32
    assert rows[1]["alpha_flicker mean"] == "" and rows[1]["alpha_flicker count"] == "0"
    sets = list(csv.DictReader((tmp_path / "evaluation_sets.csv").open()))
    assert [row["set"] for row in sets] == ["a", "b", "c", "."]
    assert sets[1]["recomposition_psnr"] == "34.0" and sets[2]["recomposition_psnr"] == ""
    page = json.loads((tmp_path / "evaluation.json").read_text())
    assert page["runs"][0]["summary"]["recomposition_psnr"]["count"] == 2
    assert page["runs"][0]["sets"][2]["failure"] == "c is damaged"
    assert page["measures"]["alpha_flicker"]["better"] == "less is better"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="cannot be written"):
        write_tables([FIRST], tmp_path / "file")
