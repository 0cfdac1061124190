"""The one place where a name that a person or a file chose becomes the name of a file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TypeVar

from .errors import LayerFlowError

E = TypeVar("E", bound=LayerFlowError)
LONGEST_NAME = 100
"""Bytes of UTF-8: file systems take 255, and suffixes and partial names need room."""

_FORBIDDEN = re.compile(
    r'[<>:"/\\|?*%#]'
)  # in file names of Windows, in sequences' patterns and in URLs
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories
_DEVICES = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[\d\u00b9\u00b2\u00b3])\s*(\..*)?", re.IGNORECASE
)  # names that Windows keeps, with any ending, also after spaces
_FALLBACK = "unnamed"
_SHOWN = 120  # letters of a refused name in a message


def clean_name(name: str, fallback: str = _FALLBACK) -> str:
    """A name as a file can have it on any system: never a path, never empty, never hidden.

    Args:
        name: any text.
        fallback: for a name of which nothing is left.
    """
    text = unicodedata.normalize("NFC", name)
    text = "".join(
        "_" if unicodedata.category(letter) in _UNPRINTABLE else letter for letter in text
    )
    text = _FORBIDDEN.sub("_", text)
    text = text.strip().lstrip(".")
    text = text.encode()[:LONGEST_NAME].decode(errors="ignore")
    text = text.rstrip(" .")
    if _DEVICES.fullmatch(text):
        text = f"_{text}"
    return text or fallback


def check_name(name: str, what: str, error_type: type[E]) -> str:
    """A name that somebody typed, as it is but for letters of two parts, as macOS types some.

    Args:
        what: it names, for the message.

    Raises:
        error_type: no file could have this name everywhere.
    """
    cleaned = clean_name(name)
    if unicodedata.normalize("NFC", name) == cleaned:
        return cleaned
    shown = ascii(name)[:_SHOWN]
    raise error_type(
        f"{what}: got {shown}, expected a name of {LONGEST_NAME} bytes at most without path separators, "
        f'<>:"|?*%# and unprintable characters; try {cleaned!r}'
    )


class FileNames:
    """File names in one folder, unique also where case is ignored.

    Args:
        reserved: names that are taken from the start.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {_key(name) for name in reserved}

    def claim(self, name: str) -> str:
        """The cleaned name, with a number where it is taken: ``dog``, ``dog_2``, ..."""
        cleaned = clean_name(name)
        candidate = cleaned
        number = 1
        while _key(candidate) in self._taken:
            number += 1
            ending = f"_{number}"
            start = cleaned.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore")
            candidate = start + ending
        self._taken.add(_key(candidate))
        return candidate


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
