"""What the networks of the procedural world are trained on, stage by stage, as rows of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from ..training.plan import TrainPlan


@dataclass(frozen=True)
class CurriculumStage:
    """One stage of a curriculum.

    Args:
        data: key of ``latents.SETS``.
        frames: latent frames per clip that are cut from it, 1 or 4.
        tasks: weight of each set of given clips.
        focus: weight of the loss where the object is, in the foreground and blended clips; 1 is the official loss. An
            object fills 1/7.7 of its image, so its colour hardly shows in the plain mean, and
            its word is not learnt.
        noise_power: timesteps are drawn as u ** this; below 1 there are more noisy ones, where it
            is decided what a clip
            becomes, and where words are learnt.
    """

    name: str
    data: str
    frames: int
    plan: TrainPlan
    tasks: Mapping[tuple[str, ...], float]
    focus: float = 1.0
    noise_power: float = 0.7


@dataclass(frozen=True)
class Curriculum:
    """A network's way from nothing.

    Args:
        layout: key of ``layout.LAYOUTS``.
        sets: rows of ``latents.SETS`` that it needs. The first has the size of the finished network, and all are
            normalised as it is, so that the stages share one latent space.
    """

    layout: str
    sets: tuple[str, ...]
    stages: tuple[CurriculumStage, ...]


def _tasks(apart: float, free: float) -> Mapping[tuple[str, ...], float]:
    """Weights of decomposition and of generation.

    What is left goes to the tasks with a foreground or a background given.
    """
    rest = (1 - apart - free) / 2
    return {(BLENDED,): apart, (): free, (FOREGROUND, ALPHA): rest, (BACKGROUND,): rest}


def make_plan(
    steps: int,
    batch: int,
    lr: float,
    muon_lr: float = 0.0,
    warmup_steps: int = 60,
    ema_decay: float = 0.0,
) -> TrainPlan:
    """What all trainings from nothing share."""
    return TrainPlan(
        steps,
        batch=batch,
        lr=lr,
        muon_lr=muon_lr,
        warmup_steps=warmup_steps,
        ema_decay=ema_decay,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        gradient_checkpointing=False,
        save_every=100,
        log_every=25,
        keep_last=1,
    )


# Copying is learnt first, colours with it; shapes and motions take far longer, and are learnt where steps are cheap.
_SHIPPED = (
    CurriculumStage(
        "stills", "stills", 1, make_plan(2400, 16, 3e-3, 4e-3), _tasks(0.45, 0.33), focus=10.0
    ),
    CurriculumStage(
        "shapes", "stills", 1, make_plan(1300, 8, 2e-3, 2.5e-3), _tasks(0.25, 0.55), focus=10.0
    ),
    CurriculumStage(
        "more_shapes", "stills", 1, make_plan(2100, 16, 2e-3, 3e-3), _tasks(0.3, 0.5), focus=10.0
    ),
    CurriculumStage(
        "motions", "small_clips", 4, make_plan(2600, 8, 2e-3, 3e-3), _tasks(0.3, 0.5), focus=10.0
    ),
    CurriculumStage(
        "more_motions",
        "small_clips",
        4,
        make_plan(900, 8, 2e-3, 3e-3, warmup_steps=30),
        _tasks(0.15, 0.75),
        focus=10.0,
        noise_power=0.3,
    ),
    CurriculumStage(
        "clips",
        "clips",
        4,
        make_plan(1800, 4, 2e-3, 2.5e-3, warmup_steps=30, ema_decay=0.99),
        _tasks(0.4, 0.4),
        focus=5.0,
        noise_power=0.6,
    ),
)


def _start(layout: str) -> Curriculum:
    """Where the proof of the three stages starts, see ``proof``: frames of coarse footage, never a true layer."""
    stage = CurriculumStage(
        f"start_{layout}",
        "coarse_stills",
        1,
        make_plan(1600, 16, 3e-3, 4e-3),
        _tasks(0.4, 0.4),
        focus=10.0,
    )
    return Curriculum(layout, ("coarse_stills",), (stage,))


SHIPPED, SEQUENCE_START, CHANNELS_START = "shipped", "sequence_start", "channels_start"
CURRICULA: Mapping[str, Curriculum] = {
    SHIPPED: Curriculum("unified_rgba", ("clips", "stills", "small_clips"), _SHIPPED),
    SEQUENCE_START: _start("unified_rgba"),
    CHANNELS_START: _start("channels_rgba"),
}
