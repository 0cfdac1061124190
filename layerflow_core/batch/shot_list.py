"""A list of shots as a file: rows of plain data, whichever of three formats it has.

CSV has a header; a column ``given.foreground`` is the field ``foreground`` of ``given``, empty cells are left out. JSON
and TOML have ``shots``, a list of rows, and may have ``defaults``, a row for what the others leave out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BatchError
from ..plain_data import read_json, read_text, read_toml

MOST_ROWS = 100_000
_DELIMITERS = ",;\t"
_SHOTS = "shots"
_DEFAULTS = "defaults"


@dataclass(frozen=True)
class Row:
    """A shot as it was written, unchecked.

    Args:
        place: in the file, for messages.
        mistakes: of its form.
    """

    place: str
    fields: Mapping[str, Any]
    mistakes: tuple[str, ...] = field(default=())


def read_rows(path: Path) -> list[Row]:
    """The rows of a list.

    Raises:
        BatchError: it is none of the three formats, damaged, or has no shots.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BatchError(f"{path}: got {path.suffix!r}, expected one of {', '.join(_READERS)}")
    rows = reader(path)
    if not 1 <= len(rows) <= MOST_ROWS:
        raise BatchError(f"{path}: got {len(rows)} shots, expected 1 to {MOST_ROWS}")
    return rows


def _read_csv(path: Path) -> list[Row]:
    text = read_text(path, BatchError)
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        groups = {column.partition(".")[0] for column in columns if "." in column}
        names = [*columns, *groups]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise BatchError(f"{path}: got the columns {doubled} twice, expected each once")
        return [
            _row_of_cells(f"line {reader.line_num}", columns, cells)
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except csv.Error as error:
        raise BatchError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _row_of_cells(place: str, columns: list[str], cells: list[str]) -> Row:
    fields: dict[str, Any] = {}
    mistakes = []
    if len(cells) > len(columns):
        mistakes.append(
            f"got {len(cells)} cells, expected {len(columns)}: quote text that has commas"
        )
    for column, cell in zip(columns, cells):
        if not cell.strip():
            continue
        group, dot, name = column.partition(".")
        if dot:
            fields.setdefault(group, {})[name] = cell.strip()
        else:
            fields[column] = cell.strip()
    return Row(place, fields, tuple(mistakes))


def _read_json(path: Path) -> list[Row]:
    data = read_json(path, BatchError)
    return _rows_of(path, {_SHOTS: data} if isinstance(data, list) else data)


def _read_toml(path: Path) -> list[Row]:
    return _rows_of(path, read_toml(path, BatchError))


def _rows_of(path: Path, data: Any) -> list[Row]:
    if not isinstance(data, dict) or not isinstance(data.get(_SHOTS), list):
        raise BatchError(f"{path} has no list of {_SHOTS}, expected one")
    unknown = sorted(set(data) - {_SHOTS, _DEFAULTS})
    defaults = data.get(_DEFAULTS, {})
    if unknown or not isinstance(defaults, dict):
        raise BatchError(
            f"{path}: got {ascii(unknown)[:200]} beside {_SHOTS}, expected {_DEFAULTS}, a table"
        )
    return [_row_of_table(number, row, defaults) for number, row in enumerate(data[_SHOTS], 1)]


def _row_of_table(number: int, row: Any, defaults: Mapping[str, Any]) -> Row:
    place = f"shot {number}"
    if not isinstance(row, dict):
        return Row(place, defaults, (f"got {ascii(row)[:60]}, expected a table of fields",))
    return Row(place, {**defaults, **row})


_READERS: Mapping[str, Callable[[Path], list[Row]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".toml": _read_toml,
}
