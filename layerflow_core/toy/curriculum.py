"""What the networks of the procedural world are trained on, stage by stage, as rows of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..layout import ALPHA, BACKGROUND, BLENDED, FOREGROUND
from .fitting import FitPlan


@dataclass(frozen=True)
class Stage:
    """One stage of a curriculum.

    Args:
        data: row of ``latents.SETS``.
        frames: latent frames per clip that are cut from it, 1 or 4.
        batch: scenes per process and step.
        tasks: weight of each set of given clips.
        focus: weight of the loss where the object is, in the foreground and blended clips; 1 is the official loss. An
            object fills a twelfth of its clip, so its colour hardly shows in the plain mean, and its word is not learnt.
        noise_power: timesteps are drawn as u ** this; below 1 there are more noisy ones, where it is decided what a clip
            becomes, and where words are learnt.
    """

    name: str
    data: str
    frames: int
    batch: int
    plan: FitPlan
    tasks: Mapping[tuple[str, ...], float]
    focus: float = 1.0
    noise_power: float = 0.7


@dataclass(frozen=True)
class Curriculum:
    """A network's way from nothing.

    Args:
        layout: row of ``layout.LAYOUTS``.
        sets: rows of ``latents.SETS`` that it needs. The first has the size of the finished network, and all are
            normalised as it is, so that the stages share one latent space.
    """

    layout: str
    sets: tuple[str, ...]
    stages: tuple[Stage, ...]


def _tasks(apart: float, free: float) -> Mapping[tuple[str, ...], float]:
    """Weights of decomposition and of generation; what is left goes to the tasks with a foreground or a background given."""
    rest = (1 - apart - free) / 2
    return {(BLENDED,): apart, (): free, (FOREGROUND, ALPHA): rest, (BACKGROUND,): rest}


# Copying is learnt first, colours with it; shapes and motions take far longer, and are learnt where steps are cheap.
_SHIPPED = (
    Stage("stills", "stills", 1, 16, FitPlan(2400, 3e-3, 4e-3, warm_up=60), _tasks(0.45, 0.33), focus=10.0),
    Stage("shapes", "stills", 1, 8, FitPlan(1300, 2e-3, 2.5e-3, warm_up=60), _tasks(0.25, 0.55), focus=10.0),
    Stage("more_shapes", "stills", 1, 16, FitPlan(2100, 2e-3, 3e-3, warm_up=60), _tasks(0.3, 0.5), focus=10.0),
    Stage("motions", "small_clips", 4, 8, FitPlan(2600, 2e-3, 3e-3, warm_up=60), _tasks(0.3, 0.5), focus=10.0),
    Stage("more_motions", "small_clips", 4, 8, FitPlan(900, 2e-3, 3e-3, warm_up=30), _tasks(0.15, 0.75), focus=10.0, noise_power=0.3),
    Stage("clips", "clips", 4, 4, FitPlan(2200, 2e-3, 2.5e-3, warm_up=30, decay=0.99, save_every=50), _tasks(0.4, 0.4), focus=5.0),
)


def _start(layout: str) -> Curriculum:
    """Where the proof of the three stages starts, see ``proof``: frames of coarse footage, never a true layer."""
    plan = FitPlan(2400, 3e-3, 4e-3, warm_up=60)
    return Curriculum(layout, ("coarse_stills",), (Stage(f"start_{layout}", "coarse_stills", 1, 16, plan, _tasks(0.4, 0.4), focus=10.0),))


SHIPPED, SEQUENCE_START, CHANNELS_START = "shipped", "sequence_start", "channels_start"
CURRICULA: Mapping[str, Curriculum] = {
    SHIPPED: Curriculum("unified_rgba", ("clips", "stills", "small_clips"), _SHIPPED),
    SEQUENCE_START: _start("unified_rgba"),
    CHANNELS_START: _start("channels_rgba"),
}
