"""What is wrong with a file: an error, or, where its readable part is wanted, one warning."""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import VideoFileError

_log = logging.getLogger(__name__)


class Damage:
    """Of one file.

    Args:
        path: of it.
        keeps: whether the frames that can be read are wanted all the same.
    """

    def __init__(self, path: Path, keeps: bool) -> None:
        self._path = path
        self._keeps = keeps
        self._found: list[str] = []

    def meet(self, what: str, cause: Exception | None = None) -> None:
        """Note a fault.

        Raises:
            VideoFileError: the readable part alone is not wanted.
        """
        if not self._keeps:
            raise VideoFileError(
                f"{self._path} is damaged or incomplete: {what}; get it anew, "
                "or read the frames that are there with keep_what_is_there (--keep-what-is-there)"
            ) from cause
        self._found.append(what)

    @property
    def was_met(self) -> bool:
        return bool(self._found)

    def warn(self, kept: int) -> None:
        """Say once what was met, if anything was.

        Args:
            kept: frames that were read.
        """
        if not self._found:
            return
        more = f" (and {len(self._found) - 1} more faults)" if len(self._found) > 1 else ""
        _log.warning(
            "%s is damaged or incomplete: %s%s; the %d frames that could be read are kept",
            self._path,
            self._found[0],
            more,
            kept,
        )
