"""A training as a TOML file, read into types; what is unknown or of the wrong type is an error that names it.

output = "runs/content"
[model]
checkpoint = "models/layerflow/gen_rgba.safetensors"
motion_lora = "runs/motion/motion.safetensors"
[stage]
name = "content"          # a row of training.stages.STAGES
[data.stills]
folder = "data/stills"
[data.pasted]
format = "pasted"
foregrounds = "data/rgba_clips"
backgrounds = "data/backgrounds"
count = 2000
[plan]
steps = 4000
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..plain_data import Count, Finite, as_record, read_toml
from .data.clip_folder import ClipFolder
from .data.composer import ClipSource, PastedClips, PlacementJitter
from .data.official_folders import FOLDER_LAYOUTS, OfficialFolder
from .plan import RENAMED, STRICT, TrainPlan, current_fields
from .stages import BLOCKS, TASKS, find_stage

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSection:
    """What a training starts from: a checkpoint of this pack, and LoRA that were trained before."""

    __pydantic_config__ = STRICT
    checkpoint: Path
    motion_lora: Path | None = None
    content_lora: Path | None = None


@dataclass(frozen=True)
class StageSection:
    """A stage, the blocks that train, the tasks, and the rank of the LoRA that it adds."""

    __pydantic_config__ = STRICT
    name: str
    blocks: str = "sixth"
    tasks: str = "own"
    rank: Count = 0


@dataclass(frozen=True)
class DataSection:
    """One source of clips.

    Args:
        format: clips (this pack's folders), youtubevos or davis (the official folders), pasted.
        folder, record: of clips and of official folders; ``record`` is the official json.
        foregrounds, backgrounds, count: of pasted clips.
        variants: treatments of each clip, with other random frames.
    """

    __pydantic_config__ = STRICT
    format: str = "clips"
    folder: Path | None = None
    record: Path | None = None
    foregrounds: Path | None = None
    backgrounds: Path | None = None
    count: Count = 0
    variants: Count = 1
    scale: tuple[Finite, Finite] = (0.6, 1.1)
    offset: Finite = 0.25
    speed: tuple[Finite, Finite] = (0.75, 1.25)

    def open(self, needed: tuple[str, ...]) -> ClipSource:
        """Raises DatasetError if the clips are not as they must be, TrainingError if the section lacks a field."""
        if self.format == "pasted":
            self._require("foregrounds", "backgrounds", "count")
            sides = (
                ClipFolder(self.foregrounds, ("foreground", "alpha")),
                ClipFolder(self.backgrounds, ("background",)),
            )
            return PastedClips(
                *sides, self.count, PlacementJitter(self.scale, self.offset, self.speed)
            )
        if self.format in FOLDER_LAYOUTS:
            self._require("folder", "record")
            return OfficialFolder(self.folder, self.record, self.format)
        if self.format != "clips":
            raise TrainingError(
                f"got data format {self.format!r}, expected clips, pasted, {', '.join(FOLDER_LAYOUTS)}"
            )
        self._require("folder")
        return ClipFolder(self.folder, needed)

    def _require(self, *fields: str) -> None:
        if missing := [name for name in fields if not getattr(self, name)]:
            raise TrainingError(f"data of format {self.format!r} lacks {', '.join(missing)}")


@dataclass(frozen=True)
class TrainingConfig:
    """The whole file.

    Args:
        output: folder of logs, checkpoints and the result.
        cache: folder of latents; by default ``cache`` in the output folder.
    """

    __pydantic_config__ = STRICT
    model: ModelSection
    stage: StageSection
    data: Mapping[str, DataSection]
    plan: TrainPlan
    output: Path
    cache: Path | None = field(default=None)

    def __post_init__(self) -> None:
        stage = find_stage(self.stage.name)
        if set(self.data) != set(stage.sources):
            raise TrainingError(
                f"got data {sorted(self.data)}, stage {stage.name!r} expects {sorted(stage.sources)}"
            )
        if stage.needs_motion and self.model.motion_lora is None:
            raise TrainingError(
                f"stage {stage.name!r} needs model.motion_lora: train stage 'motion' first, or take 'content_alone'"
            )
        for value, table, name in (
            (self.stage.blocks, BLOCKS, "blocks"),
            (self.stage.tasks, TASKS, "tasks"),
        ):
            if value not in table:
                raise TrainingError(
                    f"got stage.{name} = {value!r}, expected one of {', '.join(table)}"
                )


def read_training_config(path: Path) -> TrainingConfig:
    """Read a TOML file; relative paths in it start from its own folder.

    Raises:
        TrainingError: the file cannot be read, or a field is unknown, missing or of the wrong type.
    """
    table = _with_current_names(read_toml(path, TrainingError), path)
    return _resolve(as_record(TrainingConfig, table, str(path), TrainingError), path.parent)


def _with_current_names(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same table, its plan in the names of today; says which ones were renamed."""
    plan = table.get("plan")
    if not isinstance(plan, Mapping):
        return table
    if old := [name for name in plan if name in RENAMED]:
        changes = ", ".join(f"{name} is now {RENAMED[name]}" for name in old)
        _log.warning("%s: in [plan], %s; the old names still work", path, changes)
    return {**table, "plan": current_fields(plan)}


def _resolve(value: Any, folder: Path) -> Any:
    """Paths of a section, from the folder of the file that names them."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, Mapping):
        return {key: _resolve(inner, folder) for key, inner in value.items()}
    if is_dataclass(value):
        return replace(
            value, **{f.name: _resolve(getattr(value, f.name), folder) for f in fields(value)}
        )
    return value
