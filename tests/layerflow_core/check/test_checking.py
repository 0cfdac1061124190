import torch

from layerflow_core.check.cases import Bench, Case, Reading
from layerflow_core.check.checking import CASES, run_check
from layerflow_core.errors import SamplingError

CPU = torch.device("cpu")


def raising(error):
    def measure():
        raise error

    return measure


def case(*measurements, **options) -> Case:
    return Case("title", ("value",), lambda bench: iter(measurements), **options)


def check(*cases: Case, minutes: float = 1.0):
    said: list[str] = []
    return run_check(Bench(CPU), minutes, said.append, cases), said


def test_rows_are_said_as_they_come():
    report, said = check(
        case(("first", lambda: Reading(("1",))), ("second", lambda: Reading(("2",))))
    )
    assert [row.cells for row in report.tables[0].rows] == [("first", "1"), ("second", "2")]
    assert said[-3:-1] == ["| first | 1 |  |", "| second | 2 |  |"]


def test_what_raises_is_a_row_and_the_next_one_follows():
    error = SamplingError("got sage, expected another")
    rows = (("bad", raising(error)), ("good", lambda: Reading(("1",))))
    report, _ = check(case(*rows), case(*rows, raising_is_failure=False))
    fault, refusal = (table.rows[0] for table in report.tables)
    assert fault.problem == refusal.problem == "got sage, expected another"
    assert fault.is_failure and not refusal.is_failure
    assert [table.rows[1].cells for table in report.tables] == [("good", "1")] * 2


def test_a_case_that_cannot_be_prepared_is_a_row():
    def prepare(bench):
        raise RuntimeError("no memory")
        yield

    report, _ = check(Case("broken", ("value",), prepare))
    assert report.failures == ["broken, prepared: RuntimeError: no memory"]


def test_ctrl_c_keeps_what_was_measured():
    rows = (("first", lambda: Reading(("1",))), ("stop", raising(KeyboardInterrupt())))
    report, said = check(case(*rows), case(*rows))
    assert [row.cells for row in report.tables[0].rows] == [("first", "1")]
    assert report.tables[0].note.endswith("stopped.") and len(report.tables) == 1
    assert said[-1].strip() == "Nothing that was measured is wrong."


def test_nothing_begins_after_the_time():
    report, _ = check(case(("late", raising(AssertionError("was run")))), minutes=-1)
    assert report.tables[0].rows == [] and "time is up" in report.tables[0].note


def test_a_cpu_does_the_small_part():
    assert {case.title for case in CASES if not case.on_cpu} == {
        "transformer, true size",
        "VAE, true size",
        "text encoder, true size",
    }
    report, _ = check(case(("big", raising(AssertionError("was run"))), on_cpu=False))
    assert report.tables == []
