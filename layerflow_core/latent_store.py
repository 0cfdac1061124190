"""Latents of runs that are sampled and not decoded yet, on disk: a decode that fails costs no sampling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from .errors import CheckpointError
from .layout import Layout
from .model.loading import LayerFlowModel
from .model.tensor_file import read_tensors, write_tensors
from .sampling.sampler import SamplerSettings

_NAME = "latents"


class LatentStore:
    """A folder with a file per run.

    A run is known by everything that its latents depend on; a model that was built in memory has no name and is never
    found again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Tensor | None:
        """[1, G, C, h, w] float32 of a run whose decoding did not end, or None."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return read_tensors(path)[0][_NAME]
        except (CheckpointError, KeyError):  # damaged: as good as not there
            return None

    def keep(self, key: str, latents: Tensor) -> None:
        write_tensors(self._path(key), {_NAME: latents}, {})

    def forget(self, key: str) -> None:
        """The run is decoded."""
        self._path(key).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def name_run(model: LayerFlowModel, layout: Layout, prompts: Mapping[str, str], given: Mapping[str, Tensor], settings: SamplerSettings, *seeds: int) -> str:
    """sha256 of all that a run's latents depend on, '' for a model without origin."""
    if not model.origin:
        return ""
    strengths = dict(model.strengths)
    facts = [model.origin, strengths, layout.to_json(), dict(prompts), asdict(settings), seeds]
    hashed = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(given):
        hashed.update(name.encode())
        hashed.update(given[name].contiguous().cpu().numpy().tobytes())
    return hashed.hexdigest()
