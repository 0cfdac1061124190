"""The check as a whole: a table of cases, run one row after another until they are done or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ..errors import LayerFlowError
from ..runtime.out_of_memory import empty_caches
from .cases import Bench, Case, Measurement
from .exactness import embedded_model, recordings
from .machine import describe_machine
from .own_model import own_model
from .report import Report, Row, Table, head_of, head_of_machine, line_of, plainly
from .work import kernels, rates, text_encoding, transformer, vae_decoding

CASES: Sequence[Case] = (
    Case("recordings of the official code", ("largest error", "limit"), recordings),
    Case(
        "embedded model against the CPU",
        ("largest mean difference of a layer", "limit", "seconds"),
        embedded_model,
    ),
    Case("own model", ("peak, GiB", "seconds"), own_model),
    Case("rates", ("",), rates, raising_is_failure=False),
    Case(
        "transformer, true size",
        ("counted, GiB", "measured, GiB", "seconds a step", "TFLOP/s", "of the matrix rate"),
        transformer,
        on_cpu=False,
        raising_is_failure=False,
    ),
    Case(
        "VAE, true size",
        ("counted, GiB", "measured, GiB", "seconds a decode"),
        vae_decoding,
        on_cpu=False,
        raising_is_failure=False,
    ),
    Case(
        "attention of one block",
        ("milliseconds", "TFLOP/s", "difference"),
        kernels,
        raising_is_failure=False,
    ),
    Case(
        "text encoder, true size",
        ("counted, GiB", "measured, GiB", "seconds for three prompts"),
        text_encoding,
        on_cpu=False,
        raising_is_failure=False,
    ),
)
# What kernels, drivers and compilers raise; a check goes on with its next row.
_REFUSALS = (
    LayerFlowError,
    RuntimeError,
    ValueError,
    AssertionError,
    ImportError,
    OSError,
    MemoryError,
)


def run_check(
    bench: Bench,
    minutes: float,
    say: Callable[[str], None] = lambda line: None,
    cases: Sequence[Case] | None = None,
) -> Report:
    """Everything that can be measured there in a time.

    Args:
        minutes: no row begins after them; one that has begun is finished.
        say: gets every line as soon as it is known.
        cases: rows of ``CASES``; None takes all.

    A KeyboardInterrupt ends it as the time does: what was measured is kept.
    """
    deadline = time.monotonic() + 60 * minutes
    report = Report(describe_machine(bench.device))
    say(head_of_machine(report.machine))
    is_cpu = bench.device.type == "cpu"
    chosen = CASES if cases is None else cases
    for case in (case for case in chosen if case.on_cpu or not is_cpu):
        if not _fill(report, case, bench, deadline, say):
            break
    say("\n" + report.verdict())
    return report


def _fill(
    report: Report,
    case: Case,
    bench: Bench,
    deadline: float,
    say: Callable[[str], None],
) -> bool:
    """Measure the rows of one case; returns whether there is time for another."""
    table = Table(case.title, case.columns)
    try:
        for measurement in _measurements(case, bench):
            if not table.rows:
                report.tables.append(table)
                say(head_of(table))
            if time.monotonic() > deadline:
                table.note = "Not measured from here on: the time is up."
                say(table.note)
                return False
            row = _measure(case, measurement)
            table.rows.append(row)
            say(line_of(row))
    except KeyboardInterrupt:
        table.note = "Not measured from here on: stopped."
        say(table.note)
        return False
    return True


def _measurements(case: Case, bench: Bench) -> Iterator[Measurement]:
    """Those of a case; where preparing them fails, one that says so."""
    try:
        yield from case.measurements(bench)
    except _REFUSALS as error:
        failure = error

        def fail() -> None:
            raise failure

        yield "prepared", fail


def _measure(case: Case, measurement: Measurement) -> Row:
    name, measure = measurement
    try:
        reading = measure()
    except _REFUSALS as error:
        nothing = ("-",) * len(case.columns)
        return Row((name, *nothing), plainly(error), case.raising_is_failure)
    finally:
        empty_caches()
    return Row((name, *reading.cells), reading.problem, reading.is_failure)
