"""Classifier-free guidance weights: rows of one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..errors import SamplingError
from .schedule import Step

# (step, scale) -> weight of the conditional over the unconditional prediction
Weight = Callable[[Step, float], float]


def dynamic_weight(step: Step, scale: float, exponent: float = 5.0) -> float:
    """DynamicCFG as CogVideoX runs it: fed with the timestep 0..999, not with the step number.

    (N - t) / N is far below zero early on, so the weight jumps about in [1, 1 + scale] before it settles. That is
    what the released weights were tuned and shown with; it stays.
    """
    return (
        1
        + scale
        * (1 - math.cos(math.pi * ((step.count - step.timestep) / step.count) ** exponent))
        / 2
    )


def constant_weight(step: Step, scale: float) -> float:
    """Plain guidance: the scale at every step."""
    return scale


GUIDANCES: Mapping[str, Weight] = {"dynamic": dynamic_weight, "constant": constant_weight}


def find_guidance(name: str) -> Weight:
    """Raises SamplingError if the table has no such row."""
    if name not in GUIDANCES:
        raise SamplingError(
            f"unknown guidance {name!r} met, expected one of {', '.join(GUIDANCES)}"
        )
    return GUIDANCES[name]
