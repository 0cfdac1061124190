"""What a check measured, as text to read and as JSON to compare; nothing in it tells a person or a path."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..atomic import replacing
from ..errors import LayerFlowError

_SHOWN = 160  # characters of somebody else's message
# An absolute path of any system, with the folders that it goes through.
_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\"]+[\\/])+([^\s\\/:'\"]*)")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        cells: texts under the table's columns, the first one being the row's name.
        problem: what is wrong with the values, or why there are none; empty where all is well.
        is_failure: whether the problem is a fault, not a plan that does not fit or a kernel that is not there.
    """

    cells: tuple[str, ...]
    problem: str = ""
    is_failure: bool = False


@dataclass
class Table:
    """Measurements of one kind.

    Args:
        note: what was left out, and why.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    note: str = ""


@dataclass
class Report:
    """Facts of a machine, by name, and what was measured on it."""

    machine: Mapping[str, str]
    tables: list[Table] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Rows that are wrong, as they are said at the end."""
        return [
            f"{table.title}, {row.cells[0]}: {row.problem}"
            for table in self.tables
            for row in table.rows
            if row.is_failure
        ]

    def as_text(self) -> str:
        """Markdown, as issues show it."""
        parts = [head_of_machine(self.machine)]
        for table in self.tables:
            parts += [head_of(table), *(line_of(row) for row in table.rows)]
            if table.note:
                parts.append(f"\n{table.note}")
        return "\n".join([*parts, "", self.verdict(), ""])

    def verdict(self) -> str:
        """The last lines: what is wrong, or that nothing is."""
        if not any(table.rows for table in self.tables):
            return "Nothing was measured."
        if not self.failures:
            return "Nothing that was measured is wrong."
        return "\n".join(["Wrong:", *(f"* {failure}" for failure in self.failures)])

    def as_json(self) -> str:
        tables = [
            {
                "title": table.title,
                "columns": list(table.columns),
                "rows": [
                    {"cells": list(row.cells), "problem": row.problem, "failed": row.is_failure}
                    for row in table.rows
                ],
                "note": table.note,
            }
            for table in self.tables
        ]
        whole = {"machine": dict(self.machine), "tables": tables, "failures": self.failures}
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> tuple[Path, Path]:
        """``path`` with the endings ``.md`` and ``.json``, whole or not at all."""
        written = []
        for suffix, text in ((".md", self.as_text()), (".json", self.as_json())):
            target = path.with_suffix(suffix)
            with replacing(target) as partial:
                partial.write_text(text, encoding="utf-8")
            written.append(target)
        return written[0], written[1]


def head_of_machine(machine: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {machine[name]} |" for name in machine)])


def head_of(table: Table) -> str:
    """Title and columns, and one more column for what is wrong."""
    columns = (table.title, *table.columns, "")
    return f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def line_of(row: Row) -> str:
    return f"| {' | '.join((*row.cells, row.problem))} |"


def plainly(error: BaseException) -> str:
    """What an error says, in one line, without the folders that its paths go through."""
    first = (str(error).strip().splitlines() or [""])[0]
    said = without_folders(first)[:_SHOWN]
    if isinstance(error, LayerFlowError):
        return said
    return f"{type(error).__name__}: {said}".removesuffix(": ")


def without_folders(text: str) -> str:
    return _PATH.sub(r"\1", text)
