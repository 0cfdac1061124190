import torch

from layerflow_core.check import exactness
from layerflow_core.check.cases import Bench

CPU = torch.device("cpu")


def test_every_recording_in_every_precision():
    rows = dict(exactness.recordings(Bench(CPU)))
    assert len(rows) == 9 and "gen_rgba, bf16" in rows
    reading = rows["seg_rgb, fp32"]()
    error, limit = reading.cells
    assert float(error) < 5e-5 and float(limit) == 1e-4 and not reading.is_failure


def test_an_error_beyond_its_limit_is_a_failure(monkeypatch):
    monkeypatch.setitem(exactness.LIMITS_OF_RECORDINGS, torch.float32, 1e-9)
    reading = dict(exactness.recordings(Bench(CPU)))["seg_rgb, fp32"]()
    assert reading.is_failure and "expected 1e-09 at most" in reading.problem


def test_nan_is_a_failure():
    assert exactness.limited(float("nan"), 1.0).is_failure
    assert not exactness.limited(1.0, 1.0).is_failure


def test_the_embedded_model_agrees_with_itself(monkeypatch, quick_checkpoint):
    monkeypatch.setattr(exactness, "EMBEDDED", quick_checkpoint)
    monkeypatch.setattr(exactness, "STEPS", 1)
    rows = dict(exactness.embedded_model(Bench(CPU)))
    assert list(rows) == ["fp32"], "a CPU emulates the others"
    reading = rows["fp32"]()
    assert float(reading.cells[0]) < 1e-4 and not reading.is_failure
