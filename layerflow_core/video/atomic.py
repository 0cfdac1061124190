"""Files and folders that are whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import VideoFileError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that is renamed to it when the block ends well, and removed when not.

    Raises:
        VideoFileError: the folder cannot be written to, or the disk is full.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise VideoFileError(f"{path} cannot be written: {error}") from error
    finally:
        if partial.exists():  # unlink would complain where the folder itself is none
            partial.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that gets its name when the block ends well, and is removed when not.

    Raises:
        VideoFileError: there is something of that name already, the place cannot be written to, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        if path.exists():  # rename would take an empty folder's place
            raise VideoFileError(f"{path} is already there and is not overwritten: choose another name")
        partial.rename(path)
    except OSError as error:
        raise VideoFileError(f"{path} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
