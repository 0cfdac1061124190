"""Latents of runs that are sampled and not decoded yet, on disk: a decode that fails costs no sampling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError
from ..layout import Layout
from ..model.loading import LayerFlowModel
from ..plain_data import read_bytes
from ..sampling.sampler import SamplerSettings
from ..weights.tensor_file import parse_tensors, write_tensors

_NAME = "latents"
_LARGEST = 4 * 1024**3  # bytes of one run
_MOST = 20  # runs that wait


class LatentStore:
    """A folder with a file per run.

    A run is known by everything that its latents depend on; a model that was built in memory has no name and is never
    found again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Tensor | None:
        """[1, G, C, h, w] float32 of a run whose decoding did not end, or None.

        Read whole, not mapped: another process may forget the file at any time.
        """
        try:
            return parse_tensors(read_bytes(self._path(key), CheckpointError, _LARGEST))[_NAME]
        except (CheckpointError, KeyError):  # missing or damaged: the run is sampled again
            return None

    def keep(self, key: str, latents: Tensor) -> None:
        """Raises CheckpointError if the folder cannot be written to, or the disk is full."""
        write_tensors(self._path(key), {_NAME: latents}, {})
        self._limit()

    def forget(self, key: str) -> None:
        """The run is decoded."""
        try:
            self._path(key).unlink(missing_ok=True)
            self.folder.rmdir()
        except OSError:  # other runs wait in it, or it is none
            return

    def _limit(self) -> None:
        """Remove the oldest of more runs than are kept; those of runs that nobody repeats would stay for ever."""
        try:
            kept = sorted(self.folder.glob("*.safetensors"), key=_modified)
        except FileNotFoundError:  # another process forgot the last run, and the folder with it
            return
        for path in kept[:-_MOST]:
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process forgot it
        return 0.0


def name_run(
    model: LayerFlowModel,
    layout: Layout,
    prompts: Mapping[str, str],
    given: Mapping[str, Tensor],
    settings: SamplerSettings,
    *seeds: int,
) -> str:
    """sha256 of all that a run's latents depend on, '' for a model without provenance."""
    if not model.provenance:
        return ""
    strengths = dict(model.strengths)
    facts = [model.provenance, strengths, layout.to_json(), dict(prompts), asdict(settings), seeds]
    hashed = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(given):
        hashed.update(name.encode())
        hashed.update(given[name].contiguous().cpu().numpy().tobytes())
    return hashed.hexdigest()
