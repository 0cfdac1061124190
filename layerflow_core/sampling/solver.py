"""Solvers: how x moves from one noise level to the next. Rows of one table; each is a pure function.

a, b are sqrt(alpha_cumprod) before and after the step, lam(s) = log(s / sqrt(1 - s^2)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from ..errors import SamplingError
from .schedule import Step

# (step, x, x0, previous x0 or None, draws this step's noise) -> next x; never called on the last step
Advance = Callable[[Step, Tensor, Tensor, Tensor | None, Callable[[], Tensor]], Tensor]


def _lam(root: float) -> float:
    return math.log(root / math.sqrt(1 - root * root)) if root > 0 else -math.inf


def _second_order(step: Step, x0: Tensor, previous_x0: Tensor | None) -> Tensor:
    """Extrapolated x0 of DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2)."""
    if previous_x0 is None or step.previous is None:
        return x0
    h, last_h = _lam(step.b) - _lam(step.a), _lam(step.a) - _lam(step.previous)
    if math.isinf(last_h):
        return x0
    r = last_h / h
    return (1 + 1 / (2 * r)) * x0 - previous_x0 / (2 * r)


def dpmpp_2m_sde(
    step: Step, x: Tensor, x0: Tensor, previous_x0: Tensor | None, draw_noise: Callable[[], Tensor]
) -> Tensor:
    """SDE-DPM-Solver++(2M), the official solver; one noise tensor a step."""
    h = _lam(step.b) - _lam(step.a)
    d = _second_order(step, x0, previous_x0)
    sigma_a, sigma_b = math.sqrt(1 - step.a**2), math.sqrt(1 - step.b**2)
    keep = sigma_b / sigma_a * math.exp(-h)
    pull = (1 - math.exp(-2 * h)) * step.b
    return keep * x + pull * d + sigma_b * math.sqrt(1 - math.exp(-2 * h)) * draw_noise()


def dpmpp_2m(
    step: Step, x: Tensor, x0: Tensor, previous_x0: Tensor | None, draw_noise: Callable[[], Tensor]
) -> Tensor:
    """DPM-Solver++(2M), the deterministic ODE solver (arXiv 2211.01095, algorithm 2)."""
    h = _lam(step.b) - _lam(step.a)
    d = _second_order(step, x0, previous_x0)
    sigma_a, sigma_b = math.sqrt(1 - step.a**2), math.sqrt(1 - step.b**2)
    return sigma_b / sigma_a * x + (1 - math.exp(-h)) * step.b * d


SOLVERS: Mapping[str, Advance] = {"dpmpp_2m_sde": dpmpp_2m_sde, "dpmpp_2m": dpmpp_2m}


def find_solver(name: str) -> Advance:
    """Raises SamplingError if the table has no such row."""
    if name not in SOLVERS:
        raise SamplingError(f"unknown solver {name!r} met, expected one of {', '.join(SOLVERS)}")
    return SOLVERS[name]
