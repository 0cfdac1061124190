"""What is said on the command line, checked before anything that takes long."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from .atomic import check_writable
from .errors import SamplingError, VideoFileError
from .layer_files.saving import would_replace
from .runtime.parallel import local_device

AUTO_DEVICE = "auto"


def read_device(name: str) -> torch.device:
    """A device by torch's name, tried, this process's own under torchrun; ``auto`` is a GPU where there is one.

    Raises:
        SamplingError: no such device on this machine.
    """
    if name == AUTO_DEVICE:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = local_device(torch.device(name))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SamplingError(
            f"got the device {ascii(name)}, expected auto, cpu, or one that this machine has: {reason}"
        ) from error
    return device


def read_lora_pair(name: str, strength: str) -> tuple[Path, float]:
    """A LoRA file and its strength; raises SamplingError for a strength that is no finite number."""
    try:
        number = float(strength)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SamplingError(
            f"--lora {name}: got the strength {ascii(strength)}, expected a number such as 1.0"
        )
    return Path(name), number


def read_minutes(minutes: float) -> float:
    """Raises SamplingError unless it is a finite number of minutes above 0."""
    if not (math.isfinite(minutes) and minutes > 0):
        raise SamplingError(f"got --minutes {minutes}, expected a number above 0, such as 10")
    return minutes


def check_output_file(target: Path, inputs: Iterable[Path]) -> None:
    """Raises VideoFileError if a file cannot be written there, or if it is one of those that are read."""
    if os.path.realpath(target) in map(os.path.realpath, inputs):
        raise VideoFileError(
            f"{target} is read and would be written over; choose another name for --out"
        )
    check_writable(target.parent, VideoFileError)


def check_output_folder(folder: Path, inputs: Iterable[Path]) -> None:
    """Raises VideoFileError if layers cannot be written there, or would replace what is read."""
    for path in inputs:
        if would_replace(folder, path):
            raise VideoFileError(
                f"{path} is read and would be written over; choose another folder for --out"
            )
    check_writable(folder, VideoFileError)
