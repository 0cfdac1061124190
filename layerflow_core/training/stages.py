"""The stages of training as rows of data (paper section 3.2): what trains, on which data, with which motion switch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from ..errors import TrainingError
from ..layout import BACKGROUND, BLENDED, FOREGROUND, Layout
from ..model.lora import CONTENT, MOTION

_BLOCK = re.compile(r"backbone\.transformer_blocks\.(\d+)\.")

# Which blocks train. "sixth" is the official filter: blocks 5, 11, 17, ... and, beside them, the layer embedder.
BLOCKS: Mapping[str, Callable[[str], bool]] = {
    "sixth": lambda name: (
        name.startswith("layer_embedder.") or bool((m := _BLOCK.match(name)) and int(m[1]) % 6 == 5)
    ),
    "every": lambda name: True,
}


@dataclass(frozen=True)
class StageSource:
    """One kind of data in a stage.

    Args:
        treatment: key of ``data.cache.TREATMENTS``.
        motion: the motion switch of its samples, 1 for what stands still and 0 for what moves.
        share: of the samples.
    """

    treatment: str
    motion: float
    share: float = 1.0


@dataclass(frozen=True)
class Stage:
    """One row.

    Args:
        adapter: the LoRA that the stage trains, with all else frozen; None trains the network itself.
        sources: by the name under which a training's configuration gives the data.
        needs_motion: a trained motion LoRA must be there; it takes part, frozen.
    """

    name: str
    adapter: str | None
    sources: Mapping[str, StageSource]
    needs_motion: bool = False


_ROWS = (
    Stage("base", None, {"coarse": StageSource("moving", 0.0)}),
    Stage("motion", MOTION, {"pasted": StageSource("frozen", 1.0)}),
    Stage(
        "content",
        CONTENT,
        {"stills": StageSource("frozen", 1.0, 0.9), "pasted": StageSource("moving", 0.0, 0.1)},
        needs_motion=True,
    ),
    # Ablations: ours. The paper's table 3 has video only (stage base alone), channels and joint
    # training; see docs/proof.md.
    Stage(
        "content_alone",
        CONTENT,
        {"stills": StageSource("frozen", 0.0, 0.9), "pasted": StageSource("moving", 0.0, 0.1)},
    ),
    Stage(
        "joint",
        None,
        {
            "coarse": StageSource("moving", 0.0, 0.4),
            "stills": StageSource("frozen", 0.0, 0.5),
            "pasted": StageSource("moving", 0.0, 0.1),
        },
    ),
)
STAGES: Mapping[str, Stage] = {row.name: row for row in _ROWS}

# Which clips are given, and how often; "own" is the checkpoint's own task, as the official ones were trained.
TASKS: Mapping[str, Mapping[tuple[str, ...], float] | None] = {
    "own": None,
    "generate": {(): 1.0},
    "decompose": {(BLENDED,): 1.0},
    "foreground_to_background": {(FOREGROUND,): 1.0},
    "background_to_foreground": {(BACKGROUND,): 1.0},
    "all": {(): 0.33, (BLENDED,): 0.45, (FOREGROUND,): 0.11, (BACKGROUND,): 0.11},
}


def task_layouts(layout: Layout, tasks: str) -> list[tuple[Layout, float]]:
    """The layouts that a key of ``TASKS`` trains, with their weights; a foreground is given with its alpha.

    Raises:
        TrainingError: the table has no such row.
    """
    if tasks not in TASKS:
        raise TrainingError(f"got unknown tasks {tasks!r}, expected one of {', '.join(TASKS)}")
    if TASKS[tasks] is None:
        return [(layout, 1.0)]
    return [
        (layout.with_given(*_with_alpha(layout, given)), weight)
        for given, weight in TASKS[tasks].items()
    ]


def _with_alpha(layout: Layout, given: tuple[str, ...]) -> list[str]:
    mattes = [layout.alpha_of(name) for name in given if layout.clip(name).kind == FOREGROUND]
    return [*given, *(matte.name for matte in mattes if matte)]


def find_stage(name: str) -> Stage:
    """Raises TrainingError if the table has no such row."""
    if name not in STAGES:
        raise TrainingError(f"got unknown stage {name!r}, expected one of {', '.join(STAGES)}")
    return STAGES[name]


def choose_trainable(network: nn.Module, adapter: str | None, blocks: str) -> list[str]:
    """Freeze all parameters but those of an adapter, or of the network itself, in a row of
    ``BLOCKS``; returns their names.

    Raises:
        TrainingError: nothing is left, e.g. of every sixth block in a network of five.
    """
    if blocks not in BLOCKS:
        raise TrainingError(
            f"got unknown choice of blocks {blocks!r}, expected one of {', '.join(BLOCKS)}"
        )
    chosen = set()
    for name, parameter in network.named_parameters():
        of_lora = ".lora_" in name
        wanted = f".{adapter}." in name if of_lora else adapter is None
        parameter.requires_grad_(wanted and BLOCKS[blocks](name))
        if parameter.requires_grad:
            chosen.add(name)
    if not chosen:
        raise TrainingError(
            f"nothing to train: {blocks!r} picks no parameter of this network; a small one trains with 'every'"
        )
    return sorted(chosen)
