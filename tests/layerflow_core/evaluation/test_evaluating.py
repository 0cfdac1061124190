from dataclasses import replace

import pytest

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation import evaluating
from layerflow_core.evaluation.evaluating import Evaluation, evaluate
from layerflow_core.evaluation.measures import measure_sample
from layerflow_core.evaluation.sample import Sample

from .saved import save
from .scenes import make_layers

NAMES = ("recomposition_psnr", "alpha_mad", "background_psnr")


@pytest.fixture
def results(tmp_path):
    save(tmp_path / "results" / "true", make_layers())
    save(tmp_path / "results" / "late", make_layers(start=26))
    return tmp_path / "results"


@pytest.fixture
def measured(monkeypatch):
    """Names that were measured, not taken from before."""
    seen = []

    def measure(sample, names):
        seen.append(tuple(names))
        return measure_sample(sample, names)

    monkeypatch.setattr(evaluating, "measure_sample", measure)
    return seen


def test_figures_of_files_are_those_of_their_layers(results, tmp_path):
    truth = save(tmp_path / "truth", make_layers())
    (run,) = evaluate(Evaluation([results], tmp_path / "out", truth, NAMES))
    late, true = run.sets
    expected = measure_sample(Sample(make_layers(start=26), make_layers()), NAMES).values
    assert late.name == "late" and late.figures.values["alpha_mad"] == pytest.approx(
        expected["alpha_mad"], rel=1e-3
    )
    assert true.figures.values["alpha_mad"] == 0
    assert true.figures.values["recomposition_psnr"] > 45


def test_what_was_measured_is_not_measured_again(results, tmp_path, measured):
    out = tmp_path / "out"
    first = evaluate(Evaluation([results], out, names=NAMES[:1]))
    assert evaluate(Evaluation([results], out, names=NAMES[:1])) == first
    assert measured == [NAMES[:1]] * 2
    evaluate(Evaluation([results], out, names=("alpha_flicker", *NAMES[:1])))
    assert measured[2:] == [("alpha_flicker",)] * 2
    save(results / "late", make_layers(start=28))
    evaluate(Evaluation([results], out, names=NAMES[:1]))
    assert measured[4:] == [NAMES[:1]]
    evaluate(Evaluation([results], out, names=NAMES[:1], again=True))
    assert len(measured) == 7


def test_an_evaluation_that_is_stopped_keeps_what_it_measured(results, tmp_path, measured):
    def stop(text):
        if text.startswith("2/2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Evaluation([results], tmp_path / "out", names=NAMES[:1]), stop)
    evaluate(Evaluation([results], tmp_path / "out", names=NAMES[:1]))
    assert len(measured) == 2


def test_a_set_that_cannot_be_read_is_named_and_the_rest_is_measured(results, tmp_path):
    (results / "late" / "layers.json").write_text("{}")
    (run,) = evaluate(Evaluation([results], tmp_path / "out"))
    assert "layers.json" in run.sets[0].failure and not run.sets[1].failure
    assert run.summary()["recomposition_psnr"].count == 1
    (results / "true" / "layers.json").write_text("{}")
    with pytest.raises(EvaluationError, match="none of 2 sets can be read"):
        evaluate(Evaluation([results], tmp_path / "out"))


def test_what_can_be_measured_is_measured(tmp_path):
    layers = make_layers()
    opaque = replace(layers, foregrounds=(replace(layers.foregrounds[0], alpha=None),))
    save(tmp_path / "runs" / "one_frame", make_layers(1))
    save(tmp_path / "runs" / "alone", replace(layers, background=None, blended=None))
    save(tmp_path / "runs" / "opaque", opaque)
    (run,) = evaluate(
        Evaluation([tmp_path / "runs"], tmp_path / "out", tmp_path / "runs" / "alone")
    )
    alone, one_frame, without_alpha = run.sets
    assert alone.figures.left_out["recomposition_psnr"] == "the result has no background"
    assert alone.figures.values["alpha_mad"] == 0
    assert one_frame.figures.left_out["alpha_flicker"].startswith("got one frame")
    assert "a truth of 3 frames" in one_frame.figures.left_out["alpha_mad"]
    assert "has no alpha" in without_alpha.figures.left_out["alpha_flicker"]
    assert without_alpha.figures.left_out["background_psnr"] == "the truth has no background"


def test_bad_input_is_one_error_each(results, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="empty has no set of layers"):
        evaluate(Evaluation([tmp_path / "empty"], tmp_path / "out"))
    with pytest.raises(EvaluationError, match="got the measure 'beauty'"):
        Evaluation([results], tmp_path / "out", names=["beauty"])
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="cannot be written"):
        evaluate(Evaluation([results], tmp_path / "file"))
