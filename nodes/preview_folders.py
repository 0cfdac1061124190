"""Folders of player frames in ComfyUI's temporary folder: the last runs' stay, older ones go."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..layerflow_core.atomic import new_folder

FOLDER = "layerflow_preview"
RUNS = 20
"""Runs of one server whose previews stay."""


@dataclass(frozen=True)
class _Preview:
    path: Path
    node: str
    run: str


class PreviewFolders:
    """What one server has written; other servers' folders are theirs."""

    def __init__(self) -> None:
        self._previews: list[_Preview] = []

    @contextmanager
    def making(self, root: Path, node: str, run: str) -> Iterator[Path]:
        """A partial folder, whole below ``root`` when the block ends well; then older ones are removed.

        Args:
            node: that shows it; its newest preview stays, because a cached node shows it again.
            run: of the graph.
        """
        with new_folder(root / FOLDER / uuid.uuid4().hex) as new:
            yield new.partial
        self._previews.append(_Preview(new.path, node, run))
        self._remove_old()

    @property
    def newest(self) -> Path:
        return self._previews[-1].path

    def _remove_old(self) -> None:
        runs = list(dict.fromkeys(preview.run for preview in self._previews))
        recent = set(runs[-RUNS:])
        newest = {preview.node: preview for preview in self._previews}
        kept = []
        for preview in self._previews:
            if preview.run in recent or newest[preview.node] is preview:
                kept.append(preview)
            else:
                shutil.rmtree(preview.path, ignore_errors=True)
        self._previews = kept
