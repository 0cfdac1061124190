"""Packages that one measure alone needs, and that may be missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import EvaluationError


def import_package(module: str, package: str, purpose: str) -> ModuleType:
    """A module of a package.

    Args:
        package: as pip knows it.
        purpose: what needs it, for the message.

    Raises:
        EvaluationError: it is not installed, or does not work here.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError) as error:  # the last two: built for another torch
        reason = (str(error).splitlines() or [""])[0]
        raise EvaluationError(
            f"{purpose} needs the package {package}, which cannot be imported here ({reason}): pip install {package}"
        ) from error
