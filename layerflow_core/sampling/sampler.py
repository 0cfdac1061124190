"""The sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ..errors import SamplingError
from .guidance import find_guidance
from .noise import DrawNoise
from .schedule import Schedule, Step
from .solver import find_solver

# (x [B, G, C, H, W], timestep, guided) -> (v_uncond, v_cond), raw network outputs of x's shape; v_uncond is None unless guided
Predict = Callable[[Tensor, int, bool], tuple[Tensor | None, Tensor]]
# (step, x after the step, guided x0), called after every step; may raise to stop the run
Watch = Callable[[Step, Tensor, Tensor], None]


@dataclass(frozen=True)
class SamplerSettings:
    """Which rows of the tables a run uses.

    Args:
        steps: 1..200.
        guidance: row of ``GUIDANCES``.
        scale: guidance scale, 0 or more; ``dynamic`` moves between 1 and 1 + scale.
        solver: row of ``SOLVERS``.

    Raises:
        SamplingError: a value is out of range.
    """

    steps: int = 50
    guidance: str = "dynamic"
    scale: float = 6.0
    solver: str = "dpmpp_2m_sde"

    def __post_init__(self) -> None:
        find_guidance(self.guidance), find_solver(self.solver)
        if not (0 <= self.scale < 1000):
            raise SamplingError(f"guidance scale {self.scale} met, expected 0 to 1000")
        if self.steps < 1:
            raise SamplingError(f"{self.steps} steps met, expected 1 or more")


def denoise(v: Tensor, x: Tensor, q: float) -> Tensor:
    """v-prediction to x0 (arXiv 2202.00512): x0 = q x - sqrt(1 - q^2) v, in float32."""
    return q * x - (1 - q * q) ** 0.5 * v.float()


def sample(predict: Predict, initial: Tensor, noise: DrawNoise, schedule: Schedule, settings: SamplerSettings, watch: Watch | None = None) -> Tensor:
    """Run the official recipe, or the rows chosen instead.

    Args:
        predict: the network with its conditions, both branches in one call, or one where guidance does nothing.
        initial: [B, G, C, H, W] float32 standard normal.
        noise: standard normal of the same shape for a step's number; on the device of ``initial``; the last step draws none.

    Returns:
        Clean latents [B, G, C, H, W], float32.
    """
    weight, advance = find_guidance(settings.guidance), find_solver(settings.solver)
    x, previous_x0 = initial.float(), None
    for step in schedule.steps(settings.steps):
        x0 = _guided_x0(predict, x, step, weight(step, settings.scale))
        x = x0 if step.is_last else advance(step, x, x0, previous_x0, partial(noise, step.index))
        previous_x0 = x0
        if watch:
            watch(step, x, x0)
    return x


def _guided_x0(predict: Predict, x: Tensor, step: Step, weight: float) -> Tensor:
    v_uncond, v_cond = predict(x, step.timestep, weight != 1)
    x0 = denoise(v_cond, x, step.q)
    if v_uncond is None:
        return x0
    x0_uncond = denoise(v_uncond, x, step.q)
    return x0_uncond + weight * (x0 - x0_uncond)
