"""Weights in a pickle (``.pt``), read without executing anything in it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError

_CONTAINERS = ("module", "state_dict")  # DeepSpeed's, Lightning's
_TUPLES_SINCE = "2.6"  # torch that lets a global go by another name than its own


class PickleFile:
    """A DeepSpeed or plain ``torch.save`` file, memory-mapped; a ``TensorSource``.

    Raises:
        CheckpointError: damaged, or it holds more than tensors, plain data and numpy arrays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path} is not there; check the name")
        self.specs = _tensors_in(_load(path, map_location="meta"))
        if not self.specs:
            raise CheckpointError(f"{path} holds no tensors by name: not a checkpoint")

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        found = _tensors_in(_load(self.path, map_location="cpu", mmap=True))
        return {key: found[key] for key in keys}


def _load(path: Path, **options) -> Any:
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, weights_only=True, **options)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        refused = re.search(r"(?:GLOBAL|Unsupported global:?) ([\w.]+)", str(error))
        reason = f"it wants to run {refused[1]}, which is never done" if refused else str(error).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as weights: {reason}") from error


def _harmless() -> list:
    """What lets numpy's random state through, which a training run saves beside the weights: plain arrays, nothing else."""
    try:
        from numpy._core.multiarray import _reconstruct
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct

    allowed = [_reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    if torch.__version__ >= _TUPLES_SINCE:  # the file may come from the other numpy
        allowed += [(_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return allowed


def _tensors_in(data: Any) -> dict[str, Tensor]:
    tensors = data if isinstance(data, dict) else {}
    tensors = next((tensors[name] for name in _CONTAINERS if isinstance(tensors.get(name), dict)), tensors)
    return {key: value for key, value in tensors.items() if isinstance(key, str) and isinstance(value, Tensor)}
