"""The figures of many results: a row for each run, a column for each measure, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..atomic import replacing
from ..errors import EvaluationError
from .measures import LESS, MEASURES, MORE, Figures, Measure

STEM = "evaluation"
_WAYS = {MORE: "more is better", LESS: "less is better"}
_ARROWS = {MORE: " ↑", LESS: " ↓"}
_DIGITS = 4  # that count


@dataclass(frozen=True)
class Summary:
    """Of one measure over the results of a run.

    Args:
        spread: standard deviation of a sample; 0 of one result.
        count: results that have the measure.
    """

    mean: float
    spread: float
    count: int

    def __str__(self) -> str:
        spread = f" ± {shorten(self.spread)}" if self.count > 1 else ""
        return f"{shorten(self.mean)}{spread} ({self.count})"


@dataclass(frozen=True)
class MeasuredSet:
    """A result, by its name within the run; ``failure`` says why its files could not be read."""

    name: str
    figures: Figures
    failure: str = ""


@dataclass(frozen=True)
class MeasuredRun:
    """A row."""

    name: str
    sets: tuple[MeasuredSet, ...]

    def summary(self) -> dict[str, Summary]:
        """By measure, in the order of the table; those that no result has are left out."""
        found = {}
        for name in MEASURES:
            values = [s.figures.values[name] for s in self.sets if name in s.figures.values]
            if values:
                found[name] = summarise(values)
        return found

    def left_out(self) -> Counter[tuple[str, str]]:
        """How many results lack a measure, by measure and reason."""
        return Counter(item for one in self.sets for item in one.figures.left_out.items())


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and count of one value or more."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Summary(mean, 0.0, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Summary(mean, math.sqrt(squares / (len(values) - 1)), len(values))


def shorten(value: float) -> str:
    """Four digits that count, three behind the point at most."""
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 1
    return f"{value:.{max(0, _DIGITS - whole)}f}"


def list_figures(figures: Figures) -> str:
    """A line for each figure, by its name, then those that are left out with their reasons."""
    lines = [f"{name}: {shorten(value)}" for name, value in figures.values.items()]
    lines += [f"{name}: – ({reason})" for name, reason in figures.left_out.items()]
    return "\n".join(lines)


def write_tables(runs: Sequence[MeasuredRun], folder: Path) -> list[Path]:
    """``evaluation.md``, ``.csv`` (rows are runs), ``.json`` and ``evaluation_sets.csv`` (rows are results).

    Returns:
        Their paths.

    Raises:
        EvaluationError: the folder cannot be written.
    """
    texts = {
        f"{STEM}.md": write_markdown(runs),
        f"{STEM}.csv": _write_csv(_run_rows(runs)),
        f"{STEM}_sets.csv": _write_csv(_set_rows(runs)),
        f"{STEM}.json": json.dumps(describe(runs), indent=2) + "\n",
    }
    for name, text in texts.items():
        with replacing(folder / name, EvaluationError) as partial:
            partial.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def write_markdown(runs: Sequence[MeasuredRun]) -> str:
    """A table for each group of measures, then what is missing and why."""
    parts = ["Mean ± standard deviation (count of results). ↑ more is better, ↓ less is better.\n"]
    for group in dict.fromkeys(row.group for row in MEASURES.values()):
        columns = _columns(runs, group)
        if columns:
            parts.append(f"## {group}\n\n{_write_table(runs, columns)}\n")
    missing = list(_missing(runs))
    if missing:
        parts.append("## Left out\n\n" + "\n".join(missing) + "\n")
    return "\n".join(parts)


def describe(runs: Sequence[MeasuredRun]) -> dict:
    """All figures as plain data."""
    shown = _columns(runs)
    return {
        "measures": {
            row.name: {
                "group": row.group,
                "title": row.title,
                "better": _WAYS.get(row.better, "neither"),
            }
            for row in shown
        },
        "runs": [_describe_run(run) for run in runs],
    }


def _describe_run(run: MeasuredRun) -> dict:
    return {
        "name": run.name,
        "summary": {name: vars(summary) for name, summary in run.summary().items()},
        "sets": [
            {
                "name": one.name,
                "values": dict(one.figures.values),
                "left_out": dict(one.figures.left_out),
                "failure": one.failure or None,
            }
            for one in run.sets
        ],
    }


def _columns(runs: Sequence[MeasuredRun], group: str | None = None) -> list[Measure]:
    found = {name for run in runs for name in run.summary()}
    return [row for row in MEASURES.values() if row.name in found and group in (None, row.group)]


def _write_table(runs: Sequence[MeasuredRun], columns: Sequence[Measure]) -> str:
    heads = [f"{row.title}{_ARROWS.get(row.better, '')}" for row in columns]
    lines = [f"| run | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for run in runs:
        summary = run.summary()
        cells = [str(summary[row.name]) if row.name in summary else "–" for row in columns]
        lines.append(f"| {_escape(run.name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _missing(runs: Sequence[MeasuredRun]) -> Iterator[str]:
    for run in runs:
        for one in run.sets:
            if one.failure:
                yield f"* {_escape(run.name)}, {_escape(one.name)}: {_escape(one.failure)}"
        by_reason: dict[tuple[str, int], list[str]] = {}
        for (name, reason), count in run.left_out().items():
            by_reason.setdefault((reason, count), []).append(name)
        for (reason, count), names in by_reason.items():
            shown = ", ".join(names)
            yield f"* {_escape(run.name)}, {count} of {len(run.sets)}, {shown}: {_escape(reason)}"


def _run_rows(runs: Sequence[MeasuredRun]) -> Iterator[list]:
    columns = _columns(runs)
    heads = [f"{row.name} {part}" for row in columns for part in ("mean", "spread", "count")]
    yield ["run", *heads]
    for run in runs:
        summary = run.summary()
        cells = []
        for row in columns:
            one = summary.get(row.name)
            cells += ["", "", 0] if one is None else [one.mean, one.spread, one.count]
        yield [run.name, *cells]


def _set_rows(runs: Sequence[MeasuredRun]) -> Iterator[list]:
    columns = _columns(runs)
    yield ["run", "set", *(row.name for row in columns)]
    for run in runs:
        for one in run.sets:
            yield [run.name, one.name, *(one.figures.values.get(row.name, "") for row in columns)]


def _write_csv(rows: Iterator[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _escape(text: str) -> str:
    """For a cell or a line of Markdown, whatever a file is called."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
