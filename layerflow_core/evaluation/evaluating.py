"""From folders of saved layers to figures: each set is read, measured and written down before the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic import check_writable
from ..errors import EvaluationError, FrameError, VideoFileError
from .measured import MeasuredFigures
from .measures import Figures, check_names, default_names, measure_sample
from .metric_networks import MetricNetworks
from .runs import SavedSet, find_runs, load
from .sample import Sample
from .tables import MeasuredRun, MeasuredSet

_MEASURED = "measured"


@dataclass(frozen=True)
class Evaluation:
    """What is measured.

    Args:
        folders: a run each, with sets of layers somewhere below.
        out: where figures are kept while they are made, and tables in the end.
        truth: see ``runs.find_runs``.
        names: of ``MEASURES``; none for all that a set can have.
        again: measure also what was measured before.

    Raises:
        EvaluationError: no such measure.
    """

    folders: Sequence[Path]
    out: Path
    truth: Path | None = None
    names: Sequence[str] = ()
    networks: MetricNetworks = MetricNetworks()
    again: bool = False

    def __post_init__(self) -> None:
        check_names(self.names)


def evaluate(
    evaluation: Evaluation, report: Callable[[str], None] = lambda text: None
) -> list[MeasuredRun]:
    """Measure every set; what was measured before is taken from there.

    Args:
        report: is told the name of each set.

    Raises:
        EvaluationError: a folder without sets, no set that can be read, or figures cannot be written.
    """
    check_writable(evaluation.out, EvaluationError)
    runs = find_runs(evaluation.folders, evaluation.truth)
    kept = MeasuredFigures(evaluation.out / _MEASURED, evaluation.again)
    total = sum(len(run.sets) for run in runs)
    done = 0
    rows = []
    for run in runs:
        sets = []
        for one in run.sets:
            done += 1
            report(f"{done}/{total} {run.name} {one.name}")
            sets.append(_measure_set(one, evaluation, kept))
        rows.append(MeasuredRun(run.name, tuple(sets)))
    failures = [one.failure for row in rows for one in row.sets if one.failure]
    if len(failures) == total:
        raise EvaluationError(f"none of {total} sets can be read; the first: {failures[0]}")
    return rows


def _measure_set(one: SavedSet, evaluation: Evaluation, kept: MeasuredFigures) -> MeasuredSet:
    names = evaluation.names or default_names(evaluation.truth is not None)
    try:
        known = kept.read(one)
        known = Figures({name: known.values[name] for name in names if name in known.values})
        missing = [name for name in names if name not in known.values]
        if missing:
            known = known.joined(measure_sample(_load(one, evaluation.networks), missing))
    except (VideoFileError, FrameError) as error:
        return MeasuredSet(one.name, Figures(), str(error))
    kept.write(one, kept.read(one).joined(known))
    return MeasuredSet(one.name, known)


def _load(one: SavedSet, networks: MetricNetworks) -> Sample:
    made = load(one.record)
    truth = load(one.truth).layers if one.truth is not None else None
    return Sample(made.layers, truth, made.prompts, networks)
