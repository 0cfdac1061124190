"""Packages that one format alone needs, and that may be missing."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from ..errors import VideoFileError


def import_package(module: str, package: str, path: Path, purpose: str) -> ModuleType:
    """A module of a package.

    Args:
        package: as pip knows it.
        path, purpose: of the file that is "read" or "written", for the message.

    Raises:
        VideoFileError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise VideoFileError(
            f"{path} cannot be {purpose}: the package {package} is not installed here; "
            f"pip install {package}"
        ) from error
