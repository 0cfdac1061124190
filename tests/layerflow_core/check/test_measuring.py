import pytest
import torch

from layerflow_core.check import measuring
from layerflow_core.check.measuring import StageTimes, difference, fastest, gib, measured

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """A clock that calls may move on."""
    now = [100.0]
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])
    return now


def test_the_fastest_call_counts(clock):
    durations = iter([1.0, 0.25, 0.5])

    def call():
        clock[0] += next(durations)

    assert fastest(call, CPU) == 0.25


def test_slow_calls_are_not_repeated(clock):
    calls = []

    def call():
        calls.append(1)
        clock[0] += 60

    assert fastest(call, CPU) == 60 and len(calls) == 1


def test_work_is_timed_and_the_peak_of_a_cpu_unknown(clock):
    with measured(CPU) as measure:
        clock[0] += 3
    assert measure.seconds == 3 and measure.peak is None
    assert gib(measure.peak) == "-" and gib(1.5 * 1024**3) == "1.50"


def test_difference_is_relative():
    ones = torch.ones(4)
    assert difference(ones * 1.1, ones) == pytest.approx(0.1, rel=1e-5)
    assert difference(ones, ones) == 0


def test_stages_last_until_the_next_one(clock):
    stages = StageTimes(CPU)
    for name, seconds in (("text", 2), ("sample", 3)):
        stages.stage(name)
        clock[0] += seconds
    assert stages.end() == "text 2.0, sample 3.0"
