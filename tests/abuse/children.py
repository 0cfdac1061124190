"""Readers at work in forked children, each in a sandbox, watched for time, memory and what they leave behind."""

from __future__ import annotations

import multiprocessing
import shutil
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .inputs import Inputs
from .readers import Reader
from .sandbox import TRACE_SIGNAL, Sandbox

FINE, TYPED = GOOD = ("fine", "typed")
BAD = ("untyped", "crashed", "hang", "memory", "elsewhere", "half files", "accepted", "refused")
OUTCOMES = (*GOOD, *BAD)

SECONDS = 10.0
MEMORY = 3 * 1024**3  # bytes over what the child started with
_LOOK_EVERY = 0.05  # seconds
_TYPED_ROOT = "LayerFlowError"
_OWN = ("layerflow_core", "nodes")


@dataclass(frozen=True)
class Report:
    """What became of an input.

    Args:
        outcome: one of ``OUTCOMES``.
        place: where it went wrong, alike for alike faults.
        detail: traceback, or what was seen.
    """

    number: int
    outcome: str
    place: str = ""
    detail: str = ""


def run_inputs(
    reader: Reader, inputs: Inputs, numbers: Iterable[int], box: Path, workers: int
) -> Iterator[Report]:
    """Read inputs in children; a child that dies is replaced.

    Args:
        box: an empty folder for the children's sandboxes.
    """
    waiting = iter(numbers)
    children = [_Child(reader, inputs, box / str(index)) for index in range(workers)]
    busy = [child for child in children if child.start_next(waiting)]
    while busy:
        wait([child.connection for child in busy], _LOOK_EVERY)
        for child in list(busy):
            report = child.look()
            if report is None:
                continue
            yield report
            if not child.start_next(waiting):
                busy.remove(child)
    for child in children:
        child.end()


class _Child:
    """The parent's side of a child."""

    def __init__(self, reader: Reader, inputs: Inputs, box: Path) -> None:
        self._reader = reader
        self._inputs = inputs
        self._box = box
        self._start()

    def start_next(self, waiting: Iterator[int]) -> bool:
        """False if nothing waits."""
        self.number = next(waiting, None)
        if self.number is None:
            return False
        self._began = time.monotonic()
        self._memory = self._status.memory_info().rss
        self.connection.send(self.number)
        return True

    def look(self) -> Report | None:
        """None while it reads; a child that is dead or goes too far is replaced."""
        if self.connection.poll():
            try:
                return self.connection.recv()
            except (EOFError, OSError):
                return self._bury("crashed")
        if not self._process.is_alive():
            return self._bury("crashed")
        if time.monotonic() - self._began > SECONDS:
            return self._bury("hang")
        if self._grown() > MEMORY:
            return self._bury("memory")
        return None

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()
        shutil.rmtree(self._box, ignore_errors=True)

    def _grown(self) -> int:
        import psutil

        try:
            return self._status.memory_info().rss - self._memory
        except psutil.NoSuchProcess:
            return 0

    def _start(self) -> None:
        import psutil

        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        arguments = (self._reader, self._inputs, self._box, theirs)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._status = psutil.Process(self._process.pid)

    def _bury(self, outcome: str) -> Report:
        """A report of an input that its child does not survive, and a new child."""
        if outcome != "crashed":
            self._status.send_signal(TRACE_SIGNAL)
            time.sleep(_LOOK_EVERY)
            self._process.kill()
        self._process.join()
        trace = _read_trace(self._box)
        place = _first_place(trace)
        if outcome == "crashed":
            place = f"exit status {self._process.exitcode} at {place}"
        self.end()
        self._start()
        return Report(self.number, outcome, place, trace)


def _read_trace(box: Path) -> str:
    trace = box / "trace.txt"
    return trace.read_text(errors="replace") if trace.is_file() else ""


def _serve(reader: Reader, inputs: Inputs, box: Path, connection: Connection) -> None:
    """The child: reads what it is told to, until it is killed."""
    sandbox = Sandbox(box)
    sandbox.enter()
    while True:
        number = connection.recv()
        connection.send(_read(reader, inputs, number, sandbox))


def _read(reader: Reader, inputs: Inputs, number: int, sandbox: Sandbox) -> Report:
    sandbox.clean()
    entry = inputs.write(number, sandbox.input)
    sandbox.look()
    try:
        reader.read(entry)
        report = Report(number, "fine")
    except BaseException as error:  # a panic of a Rust library is no Exception
        report = _judge(error, number)
    if left := sandbox.left_behind():
        kind, what = left
        return Report(number, kind, what, report.detail)
    if report.outcome == "fine" and inputs.is_hostile(number):
        return Report(number, "accepted", inputs.describe(number))
    if report.outcome == "typed" and inputs.is_sound(number):
        return Report(number, "refused", inputs.describe(number), report.detail)
    return report


def _judge(error: BaseException, number: int) -> Report:
    if any(kind.__name__ == _TYPED_ROOT for kind in type(error).__mro__):
        return Report(number, "typed", type(error).__name__, str(error))
    text = "".join(traceback.format_exception(error, limit=-12, chain=False))[-10_000:]
    return Report(number, "untyped", f"{type(error).__name__} at {_last_place(error)}", text)


def _last_place(error: BaseException) -> str:
    """The pack's last frame: where a fault is to be mended."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def _first_place(trace: str) -> str:
    """The same in what faulthandler writes, which has the last frame first."""
    own = [line.strip() for line in trace.splitlines() if _is_own(line)]
    return own[0].rpartition("/")[2].replace('"', "") if own else "an unknown place"


def _is_own(name: str) -> bool:
    return any(f"/{room}/" in name for room in _OWN)
