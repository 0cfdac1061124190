import pytest

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.measured import MeasuredFigures
from layerflow_core.evaluation.measures import Figures
from layerflow_core.evaluation.runs import SavedSet

from .saved import save
from .scenes import make_layers

FIGURES = Figures({"alpha_flicker": 0.1 + 0.2}, {"alpha_mad": "no truth"})


@pytest.fixture
def one(tmp_path):
    return SavedSet("one", save(tmp_path / "one", make_layers()) / "layers.json")


def test_values_come_back_as_they_were_and_reasons_do_not(one, tmp_path):
    kept = MeasuredFigures(tmp_path / "kept")
    assert kept.read(one) == Figures()
    kept.write(one, FIGURES)
    assert kept.read(one) == Figures(FIGURES.values)
    assert MeasuredFigures(tmp_path / "kept", ignores=True).read(one) == Figures()


def test_other_files_and_another_truth_are_measured_again(one, tmp_path):
    kept = MeasuredFigures(tmp_path / "kept")
    kept.write(one, FIGURES)
    assert kept.read(SavedSet(one.name, one.record, one.record)) == Figures()
    save(tmp_path / "one", make_layers(start=30))
    assert kept.read(one) == Figures()


def test_a_damaged_file_is_measured_again_and_said(one, tmp_path, caplog):
    kept = MeasuredFigures(tmp_path / "kept")
    kept.write(one, FIGURES)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_text('{"values": {"alpha_flicker": "high"}}')
    assert kept.read(one) == Figures()
    assert "it is measured again" in caplog.text
    path.write_text('{"values": {"no_such_measure": 1}}')
    assert kept.read(one) == Figures()


def test_a_folder_that_cannot_be_written_is_named(one, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="cannot be written"):
        MeasuredFigures(tmp_path / "file").write(one, FIGURES)
