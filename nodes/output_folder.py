"""Where nodes save, and what of a graph goes into the files: as ComfyUI's own save nodes do it."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ..layerflow_core.atomic import numbered
from ..layerflow_core.errors import VideoFileError
from ..layerflow_core.layers import LayerVideo
from ..layerflow_core.names import check_name

_DATE = re.compile(r"%date(?::(?P<format>[^%]*))?%")
_DATE_PARTS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
_DEFAULT_DATE = "yyyyMMddhhmmss"
_TRIES = 1000  # numbers that other servers may take while one saves


def output_folder() -> Path:
    """ComfyUI's output folder."""
    import folder_paths

    return Path(folder_paths.get_output_directory())


def graph_metadata(prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> dict[str, Any]:
    """The graph as files carry it; nothing where ComfyUI was started with ``--disable-metadata``."""
    from comfy.cli_args import args

    if args.disable_metadata:
        return {}
    metadata = {} if prompt is None else {"prompt": prompt}
    return {**metadata, **(extra_pnginfo or {})}


def next_folders(prefix: str, root: Path, layers: LayerVideo) -> Iterator[Path]:
    """New folders for a filename prefix, the next number first.

    Args:
        prefix: folders and a name below ``root``; ComfyUI's patterns are replaced, ``%date:yyyy-MM-dd%`` too, which
            its browser only replaces for nodes it knows.

    Raises:
        VideoFileError: the prefix leads elsewhere, or no file could be called so.
    """
    import folder_paths

    replaced = replace_dates(unicodedata.normalize("NFC", prefix.strip())).replace("\\", "/")
    place = PurePosixPath(replaced)
    if place.is_absolute() or ".." in place.parts or not place.name:
        raise VideoFileError(
            f"filename prefix: got {ascii(prefix[:200])}, "
            "expected a name within ComfyUI's output folder, such as layerflow/layers"
        )
    for part in place.parts:
        check_name(part.replace("%", ""), "filename prefix", VideoFileError)
    height, width = layers.foreground.shape[2:]
    try:
        folder, name, number, _, _ = folder_paths.get_save_image_path(
            replaced, str(root), width, height
        )
    except OSError as error:
        raise VideoFileError(f"{root / place} cannot be written: {error}") from error
    return islice(numbered(Path(folder), name, number), _TRIES)


def replace_dates(prefix: str) -> str:
    """``%date:yyyy-MM-dd%`` to today's date, as ComfyUI's browser does it for its own nodes."""

    def replace(match: re.Match) -> str:
        pattern = match["format"] or _DEFAULT_DATE
        for part, code in _DATE_PARTS.items():
            pattern = pattern.replace(part, time.strftime(code))
        return pattern

    return _DATE.sub(replace, prefix)
