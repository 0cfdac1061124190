"""The one place where text and bytes from outside become plain data, and plain data becomes typed records.

Whatever a file or a request says is bounded here (size, nesting, length of numbers) before anything else sees it, and
checked against a dataclass whose fields carry their own bounds (``Count``, ``Text``, ...). Every mistake is a
``LayerFlowError`` of the caller's choice that names the source.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Interval, Len

from .errors import LayerFlowError

T = TypeVar("T")
Errors = type[LayerFlowError]

LARGEST_TEXT = 64 * 1024**2
"""Bytes of a text file; the largest real ones, records of a dataset of thousands of videos, have some 10 MB."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN = 3  # mistakes of a record that are named

# Types for the fields of records.
Count = Annotated[int, Interval(ge=0, le=2**31 - 1)]
Finite = Annotated[float, Interval(ge=-1e30, le=1e30)]
Text = Annotated[str, Len(0, 100_000)]
Name = Annotated[str, Len(1, 1000)]


def read_bytes(path: Path, error_type: Errors, largest: int = LARGEST_TEXT) -> bytes:
    """All of a regular file.

    Args:
        largest: bytes.

    Raises:
        error_type: it is missing, too large, or no regular file (a pipe would be waited for).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error_type(f"{path} is not a regular file, expected one")
        if status.st_size > largest:
            raise error_type(f"{path}: got {status.st_size} bytes, expected {largest} at most")
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except (OSError, ValueError) as error:
        raise error_type(f"{_shown(path)} cannot be read: {error}") from error
    if len(data) > largest:  # it grew, or its size is not known before
        raise error_type(f"{path}: got more than {largest} bytes, expected {largest} at most")
    return data


def read_text(path: Path, error_type: Errors, largest: int = LARGEST_TEXT) -> str:
    """A text file in UTF-8; raises error_type as ``read_bytes``, or if it is not UTF-8."""
    return decode(read_bytes(path, error_type, largest), str(path), error_type)


def decode(data: bytes, source: str, error_type: Errors) -> str:
    """Bytes as UTF-8 text, without a byte order mark; raises error_type if they are none."""
    try:
        return data.removeprefix(_BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise error_type(
            f"{source} is not text in UTF-8 ({error.reason} at byte {error.start})"
        ) from error


def parse_json(
    data: bytes | str, source: str, error_type: Errors, largest: int = LARGEST_TEXT
) -> Any:
    """JSON to plain data.

    Args:
        source: where it comes from, for messages.
        largest: bytes.

    Raises:
        error_type: not JSON, too large, nested too deeply, or with numbers that are none.
    """
    from pydantic_core import from_json

    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > largest:
        raise error_type(f"{source}: got {len(raw)} bytes of JSON, expected {largest} at most")
    try:
        return from_json(raw.removeprefix(_BYTE_ORDER_MARK), allow_inf_nan=False)
    except ValueError as error:
        raise error_type(f"{source} cannot be read as JSON: {error}") from error


def read_json(path: Path, error_type: Errors, largest: int = LARGEST_TEXT) -> Any:
    """A JSON file to plain data; raises error_type as ``read_bytes`` and ``parse_json``."""
    return parse_json(read_bytes(path, error_type, largest), str(path), error_type, largest)


def parse_toml(text: str, source: str, error_type: Errors) -> dict[str, Any]:
    """TOML to plain data; raises error_type if it is none, or nested too deeply."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise error_type(f"{source} cannot be read as TOML: {error}") from error


def read_toml(path: Path, error_type: Errors) -> dict[str, Any]:
    """A TOML file to plain data; raises error_type as ``read_text`` and ``parse_toml``."""
    return parse_toml(read_text(path, error_type), str(path), error_type)


def as_record(kind: type[T], data: Any, source: str, error_type: Errors, strict: bool = False) -> T:
    """Plain data as a typed record.

    Args:
        kind: a dataclass, or any other type pydantic knows; what its fields may hold is part of their types. Unknown
            keys are ignored unless the class says otherwise in ``__pydantic_config__``.
        strict: take no text for a number and no number for text.

    Raises:
        error_type: naming the first fields that do not fit, with what they hold.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(data, strict=strict or None)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False)
        named = "; ".join(_describe(mistake) for mistake in mistakes[:_SHOWN])
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise error_type(f"{source}: {named}{more}") from error
    except RecursionError as error:
        raise error_type(f"{source} is nested too deeply") from error


def mistakes_in(kind: type, data: Any) -> list[tuple[str, str]]:
    """All that keeps plain data from being a record: the field and what is wrong with it, see ``as_record``."""
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(data)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False)
        return [(str((*mistake["loc"], "")[0]), _describe(mistake)) for mistake in mistakes]
    except RecursionError:
        return [("", "is nested too deeply")]
    return []


def read_record(kind: type[T], path: Path, error_type: Errors) -> T:
    """A JSON file as a typed record; raises error_type as ``read_json`` and ``as_record``."""
    return as_record(kind, read_json(path, error_type), str(path), error_type)


def parse_record(kind: type[T], data: bytes | str, source: str, error_type: Errors) -> T:
    """JSON as a typed record; raises error_type as ``parse_json`` and ``as_record``."""
    return as_record(kind, parse_json(data, source, error_type), source, error_type)


@lru_cache(maxsize=None)
def _adapter(kind: Callable):
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _describe(mistake: dict[str, Any]) -> str:
    place = ".".join(str(part)[:60] for part in mistake["loc"])
    got = ascii(mistake["input"])
    shown = got if len(got) <= 60 else f"{got[:57]}..."
    reason = mistake["msg"][:200]
    return f"{place}: got {shown}; {reason}" if place else f"got {shown}; {reason}"


def _shown(path: Path) -> str:
    """A path in a message, whatever its name holds."""
    return str(path).encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
