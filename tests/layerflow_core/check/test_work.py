import pytest
import torch

from layerflow_core.check import work
from layerflow_core.check.cases import Bench
from layerflow_core.errors import SamplingError
from layerflow_core.model.residence import stands_on
from layerflow_core.runtime import devices

from .small_size import make_small

CPU = torch.device("cpu")


@pytest.fixture
def bench(monkeypatch):
    make_small(monkeypatch)
    return Bench(CPU)


def test_operations_of_a_true_step():
    """347 TFLOP: 229 in attention (4 S^2 D a block and branch), 118 in matrices."""
    work.operations_of_a_step.cache_clear()
    assert round(work.operations_of_a_step() / work.TERA) == pytest.approx(347, abs=4)


def test_rates_are_of_this_device(bench):
    rows = dict(work.rates(bench))
    assert list(rows) == ["matrix products, float32", "copies on the device"]
    rate = float(rows["matrix products, float32"]().cells[0].removesuffix(" TFLOP/s"))
    assert 0.001 < rate < 100


def test_a_step_under_every_plan(bench):
    rows = dict(work.transformer(bench))
    names = list(rows)
    assert names[0] == "whole on the device, both branches at once"
    assert names[-3:] == [
        "fp8, whole on the device, both branches at once",
        "fp8_fast, whole on the device, both branches at once",
        "compiled, whole on the device, both branches at once",
    ]
    for name in names[:-1]:  # compiling takes a minute on a CPU
        counted, peak, seconds, rate, share = rows[name]().cells
        assert float(counted) > 0 and peak == "-" and float(seconds) >= 0
        assert share.endswith("%"), name
    assert bench.true_transformer.network.position_table.dtype == torch.float32
    assert stands_on(bench.true_transformer.network, CPU)


def test_a_plan_that_does_not_fit_is_said_and_not_tried(bench, monkeypatch):
    monkeypatch.setattr(devices, "_free_ram", lambda: -(10**12))
    for rows in (work.transformer(bench), work.vae_decoding(bench), work.text_encoding(bench)):
        for name, measure in list(rows)[:1]:
            reading = measure()
            assert "does not fit" in reading.problem and not reading.is_failure, name
            assert set(reading.cells[1:]) == {"-"}


def test_too_little_ram_for_the_text_encoder(bench, monkeypatch):
    import psutil

    class Little:
        available = 1

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    ((name, measure),) = work.text_encoding(bench)
    assert name == "all plans" and "of free RAM" in measure().problem


def test_decoding_and_text_under_every_plan(bench):
    for rows, count in ((work.vae_decoding(bench), 4), (work.text_encoding(bench), 2)):
        readings = [measure() for _, measure in rows]
        assert len(readings) == count
        assert all(float(reading.cells[0]) > 0 for reading in readings)
        assert not any(reading.problem for reading in readings)


def test_kernels_are_compared_with_torchs_own(bench):
    rows = dict(work.kernels(bench))
    assert list(rows)[0] == "sdpa" and list(rows)[-1] == "chunked"
    assert float(rows["sdpa"]().cells[2]) == 0
    assert float(rows["chunked"]().cells[2]) < 1e-5
    with pytest.raises(SamplingError, match="does not run on cpu"):
        rows["cudnn"]()
