"""What was measured already, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..atomic import replacing
from ..errors import EvaluationError
from ..plain_data import Finite, Name, read_record
from .measures import MEASURES, Figures
from .runs import SavedSet, fingerprint

_FORMULAS = 1
"""Counts up when a measure means something else than before."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Written:
    """A file of ours; reasons for what is left out are not kept, because they may be gone the next time."""

    values: dict[Name, Finite] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredFigures:
    """A folder of figures, a file for each set; named after the files of the set and of its truth.

    Args:
        ignores: what is there is measured again.
    """

    folder: Path
    ignores: bool = False

    def read(self, one: SavedSet) -> Figures:
        """What was measured of these very files; nothing where nothing was."""
        path = self._path(one)
        if self.ignores or not os.path.isfile(path):
            return Figures()
        try:
            values: Mapping[str, float] = read_record(_Written, path, EvaluationError).values
        except EvaluationError as error:
            _log.warning("%s; it is measured again", error)
            return Figures()
        return Figures({name: value for name, value in values.items() if name in MEASURES})

    def write(self, one: SavedSet, figures: Figures) -> None:
        """Atomically; raises EvaluationError if the folder cannot be written."""
        path = self._path(one)
        with replacing(path, EvaluationError) as partial:
            partial.write_text(json.dumps({"values": dict(figures.values)}, indent=2) + "\n")

    def _path(self, one: SavedSet) -> Path:
        of_truth = fingerprint(one.truth) if one.truth is not None else ""
        facts = f"{_FORMULAS} {one.record.resolve()} {fingerprint(one.record)} {of_truth}"
        return self.folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"
