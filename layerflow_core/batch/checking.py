"""From rows to shots: everything that can be wrong with a list is found, and named at once, before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import ModelConfig
from ..errors import BatchError, CheckpointError, LayerFlowError
from ..footage import TIMINGS
from ..layer_files.saving import SaveOptions
from ..layout import BLENDED, COLOUR_LAYERS, FOREGROUND
from ..model.text import check_prompts
from ..names import check_name
from ..official.conversion import official_network, released_file
from ..official.variants import choose_variant, read_config
from ..pipeline import layout_for
from ..plain_data import as_record, mistakes_in
from ..sampling.noise import NoiseSource
from ..sampling.sampler import SamplerSettings
from ..video.files import list_images
from ..video.frame_selection import FrameSelection
from ..video.frames import FITS, Windows
from ..video.listing import check_regular
from ..weights.checkpoint import CONFIG_KEY
from ..weights.tensor_file import SafetensorsFile
from ..weights.weight_file import open_weights
from .number_ranges import read_ranges
from .shot_list import Row, read_rows
from .shots import (
    CONDITION,
    DECOMPOSE,
    SAMPLER_FIELDS,
    SELECTION_FIELDS,
    SUMMARY,
    TASKS,
    Shot,
    ShotFields,
    is_ours,
)

MOST_SHOTS = 100_000
_SHOWN = 200  # mistakes of a list that are printed
_PATHS = ("model", "video", "alpha")
# The field that a task cannot do without, and those of other tasks.
_INPUTS = {DECOMPOSE: "video", CONDITION: "given"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ONE = "{name}"
_SEVERAL = "{name}_{seed}"


@dataclass
class ShotChecker:
    """Makes shots of rows, and gathers what is wrong with them.

    Args:
        list_folder: from which paths in the list start.
        out: folder of all results.
        defaults: fields that a row leaves out; paths in them are absolute.
    """

    list_folder: Path
    out: Path
    defaults: Mapping[str, Any]
    mistakes: list[str] = field(default_factory=list)
    _configs: dict[Path, ModelConfig | str] = field(default_factory=dict)
    _outputs: dict[str, str] = field(default_factory=dict)

    def add(self, number: int, first: int, row: Row) -> list[Shot]:
        """The shots of a row; what is wrong with it goes to ``mistakes``.

        Args:
            number: of the row, from 1.
            first: number of its first shot.
        """
        problems = list(row.mistakes)
        fields = self._typed(row, problems)
        name = fields.name or f"shot_{number:04d}"
        place = f"{row.place} ({ascii(name)[1:-1][:60]})"
        problems += _problems_of(lambda: check_name(name, "name", BatchError))
        seeds = _seeds_of(fields, problems)
        problems += _check_values(fields)
        problems += _check_files(fields)
        problems += self._check_against_model(fields)
        shots = []
        for offset, seed in enumerate(seeds):
            shot = _shot_of(fields, name, first + offset, seed, self.out)
            folder, wrong = _folder_of(fields, shot, len(seeds))
            where = f"{place}, seed {seed}" if len(seeds) > 1 else place
            problems += wrong or self._check_folder(folder, where)
            shots.append(replace(shot, folder=self.out / folder))
        self.mistakes += [f"{place}: {problem}" for problem in dict.fromkeys(problems)]
        return shots

    def _typed(self, row: Row, problems: list[str]) -> ShotFields:
        """The fields that can be read, those that cannot being named: so the others are checked as well."""
        written = {**self.defaults, **row.fields}
        for name, mistake in mistakes_in(ShotFields, written):
            problems.append(mistake)
            written.pop(name, None)
        fields = as_record(ShotFields, written, row.place, BatchError)
        paths = {
            name: self.list_folder / path
            for name in _PATHS
            if (path := getattr(fields, name)) is not None
        }
        given = {name: self.list_folder / path for name, path in fields.given.items()}
        unread = "task" in {**self.defaults, **row.fields} and fields.task is None
        if fields.task not in TASKS and not unread:
            got = "no task" if fields.task is None else f"the task {ascii(fields.task)[:60]}"
            problems.append(f"got {got}, expected one of {', '.join(TASKS)}")
        return replace(fields, given=given, **paths)

    def _check_against_model(self, fields: ShotFields) -> list[str]:
        """What the checkpoint says: its layers, its task, its sampler."""
        if fields.model is None:
            return ["got no model, expected a checkpoint"]
        config = self._config_of(fields.model)
        if isinstance(config, str):
            return [config]
        given = [BLENDED] if fields.task == DECOMPOSE else list(fields.given)
        problems = _check_sampler(fields, config.sampler_for(given))
        try:
            layout = layout_for(_Described(config), _clips_of(config, given))
            Windows(1, layout.clip_pixel_frames, fields.overlap)
            check_prompts(prompts_of(fields), layout)
        except LayerFlowError as error:
            problems.append(str(error))
        return problems

    def _config_of(self, path: Path) -> ModelConfig | str:
        """A checkpoint's config, read once; what is wrong with it as text."""
        if path not in self._configs:
            try:
                self._configs[path] = read_model_config(path)
            except LayerFlowError as error:
                self._configs[path] = f"model: {error}"
        return self._configs[path]

    def _check_folder(self, folder: Path, place: str) -> list[str]:
        """Two shots with one folder, or a folder with something else."""
        key = folder.as_posix().casefold()
        if key in self._outputs:
            return [f"writes to {folder}, as {self._outputs[key]} does: give them other outputs"]
        self._outputs[key] = place
        target = self.out / folder
        if key == SUMMARY or os.path.lexists(target) and not is_ours(target):
            return [f"{target} is there and is no result of a batch; it is not replaced"]
        return []

    def check_nesting(self) -> None:
        """A shot's folder within that of another would be lost with it."""
        for key, place in self._outputs.items():
            for parent in Path(key).parents:
                other = self._outputs.get(parent.as_posix())
                if other:
                    self.mistakes.append(f"{place}: writes to {key}, within the folder of {other}")


@dataclass(frozen=True)
class _Described:
    """A checkpoint of which the config alone is read."""

    config: ModelConfig


def read_shots(path: Path, out: Path, defaults: Mapping[str, Any]) -> list[Shot]:
    """The shots of a list, in its order, one for each seed.

    Args:
        out: folder of all results.
        defaults: fields of ``ShotFields`` that the list leaves out.

    Raises:
        BatchError: with all mistakes of the list, a line each.
    """
    checker = ShotChecker(path.absolute().parent, out.absolute(), defaults)
    shots: list[Shot] = []
    for number, row in enumerate(read_rows(path), 1):
        shots += checker.add(number, len(shots) + 1, row)
        if len(shots) > MOST_SHOTS:
            raise BatchError(f"{path}: got more than {MOST_SHOTS} shots, split the list")
    checker.check_nesting()
    if checker.mistakes:
        raise BatchError(_name_all(path, checker.mistakes))
    return shots


def _name_all(path: Path, mistakes: list[str]) -> str:
    shown = mistakes[:_SHOWN]
    rest = len(mistakes) - len(shown)
    count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
    lines = [f"{path} has {count}, nothing was run:", *(f"  {line}" for line in shown)]
    return "\n".join([*lines, *([f"  and {rest} more"] if rest else [])])


def read_model_config(path: Path) -> ModelConfig:
    """What a checkpoint says of itself, from its header; raises CheckpointError."""
    if not os.path.exists(path):
        raise CheckpointError(f"{path} is not there, expected a checkpoint")
    file = released_file(path)
    opened = open_weights(file)
    if isinstance(opened, SafetensorsFile) and CONFIG_KEY in opened.metadata:
        return ModelConfig.from_json(opened.metadata[CONFIG_KEY])
    network = official_network(opened, file)
    return read_config(network.specs, choose_variant(network.specs, path))


def prompts_of(fields: ShotFields) -> dict[str, str]:
    texts = {name: getattr(fields, name) for name in COLOUR_LAYERS}
    return {name: text for name, text in texts.items() if text}


def _clips_of(config: ModelConfig, given: Iterable[str]) -> list[str]:
    """Given layers as the layout's clips: a foreground brings its alpha along."""
    clips = []
    for name in given:
        clips.append(name)
        if config.layout.clip(name).kind == FOREGROUND:
            matte = config.layout.alpha_of(name)
            clips += [matte.name] if matte else []
    return clips


def _problems_of(*checks: Callable[[], object]) -> list[str]:
    """What those of the checks say that fail."""
    problems = []
    for check in checks:
        try:
            check()
        except LayerFlowError as error:
            problems.append(str(error))
    return problems


def _seeds_of(fields: ShotFields, problems: list[str]) -> list[int]:
    if fields.seeds is None:
        return [fields.seed or 0]
    try:
        seeds = fields.seeds
        seeds = read_ranges(seeds, "seeds") if isinstance(seeds, str) else seeds
        for seed in seeds:
            NoiseSource(seed)
    except LayerFlowError as error:
        problems.append(str(error))
        return [0]
    if len(set(seeds)) < len(seeds):
        problems.append(f"got the seeds {ascii(fields.seeds)[:80]}, expected each once")
        return [0]
    return list(seeds)


def _check_values(fields: ShotFields) -> list[str]:
    """Values that are known without any file."""
    problems = []
    for name, table in (("fit", FITS), ("timing", TIMINGS)):
        value = getattr(fields, name)
        if value not in table:
            problems.append(f"{name}: got {ascii(value)[:60]}, expected one of {', '.join(table)}")
    saving = SaveOptions()
    problems += _problems_of(
        lambda: _selection_of(fields),
        lambda: replace(saving, format=fields.format),
        lambda: replace(saving, opaque=fields.opaque),
        lambda: replace(saving, alpha=fields.alpha_kind),
    )
    return problems


def _check_sampler(fields: ShotFields, own: Mapping[str, Any]) -> list[str]:
    """Each of the settings on its own, so all that are wrong are named."""
    base = SamplerSettings(**own)
    checks = [
        lambda name=name, value=value: replace(base, **{name: value})
        for name, value in _chosen(fields)
    ]
    return _problems_of(*checks)


def _chosen(fields: ShotFields) -> Iterator[tuple[str, Any]]:
    for name in SAMPLER_FIELDS:
        value = getattr(fields, name)
        if value is not None:
            yield name, value


def _check_files(fields: ShotFields) -> list[str]:
    problems = []
    needed = _INPUTS.get(fields.task)
    if needed and not getattr(fields, needed):
        problems.append(f"{fields.task} lacks {needed}")
    for task, name in _INPUTS.items():
        if fields.task in TASKS and fields.task != task and getattr(fields, name):
            problems.append(f"{fields.task} takes no {name}, which belongs to {task}")
    if fields.alpha and FOREGROUND not in fields.given:
        problems.append("got an alpha, expected it beside a given foreground")
    unknown = sorted(set(fields.given) - set(COLOUR_LAYERS))
    if unknown:
        problems.append(f"given: got {ascii(unknown)[:80]}, expected {', '.join(COLOUR_LAYERS)}")
    named = [fields.video, fields.alpha, *fields.given.values()]
    return problems + _problems_of(
        *(lambda path=path: _check_video(path) for path in named if path)
    )


def _check_video(path: Path) -> None:
    """Raises VideoFileError if nothing can be read there."""
    if os.path.isdir(path):
        list_images(path)
    else:
        check_regular(path)


def _selection_of(fields: ShotFields) -> FrameSelection:
    return FrameSelection(**{name: getattr(fields, name) for name in SELECTION_FIELDS})


def _shot_of(fields: ShotFields, name: str, number: int, seed: int, out: Path) -> Shot:
    """A shot without its folder; what is wrong with the fields is named elsewhere, and stands at its default."""
    selection = FrameSelection()
    saving = SaveOptions()
    if not _check_values(fields):
        selection = _selection_of(fields)
        saving = SaveOptions(fields.format, fields.opaque, fields.alpha_kind, fields.frame)
    return Shot(
        number,
        name,
        fields.task or "",
        out,
        fields.model or out,
        seed,
        prompts_of(fields),
        dict(_chosen(fields)),
        selection,
        saving,
        fields.video,
        fields.given,
        fields.alpha,
        fields.fit,
        fields.timing,
        fields.overlap,
    )


def _folder_of(fields: ShotFields, shot: Shot, seeds: int) -> tuple[Path, list[str]]:
    """Where a shot's layers go, below the folder of all, and what is wrong with that."""
    pattern = fields.output or (_SEVERAL if seeds > 1 else _ONE)
    values = {
        "name": shot.name,
        "seed": str(shot.seed),
        "number": f"{shot.number:04d}",
        "task": shot.task,
    }
    unknown = sorted(set(_PLACEHOLDER.findall(pattern)) - set(values))
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in values)
        return Path(), [f"output: got the placeholders {ascii(unknown)[:80]}, expected {known}"]
    filled = _PLACEHOLDER.sub(lambda match: values[match[1]], pattern)
    parts = filled.split("/")
    problems = _problems_of(
        *(lambda part=part: check_name(part, "output", BatchError) for part in parts)
    )
    return (Path() if problems else Path(*parts)), problems
