"""The sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ..errors import SamplingError
from .guidance import find_guidance
from .noise import DrawNoise
from .schedule import MOST_STEPS, Schedule, Step
from .solver import find_solver

# (x [B, G, C, H, W], timestep, guided) -> (v_uncond, v_cond), raw network outputs of x's shape;
# v_uncond is None unless guided
Predict = Callable[[Tensor, int, bool], tuple[Tensor | None, Tensor]]
# (step, x after the step, guided x0), called after every step; may raise to stop the run
Watch = Callable[[Step, Tensor, Tensor], None]


@dataclass(frozen=True)
class SamplerSettings:
    """Which rows of the tables a run uses.

    Args:
        steps: 1..200.
        guidance: key of ``GUIDANCES``.
        scale: guidance scale, 0 or more; ``dynamic`` moves between 1 and 1 + scale.
        solver: key of ``SOLVERS``.
        guidance_margin: 0 or more; where guidance's weight is this near to 1, only the prompts' branch is computed.
            0 is exact.
        step_cache: 0 to 1; most of a step is not computed if its layers changed by less than this share since the last
            one that was, see ``model.step_cache``. 0 computes every step.

    Raises:
        SamplingError: a value is out of range.
    """

    steps: int = 50
    guidance: str = "dynamic"
    scale: float = 6.0
    solver: str = "dpmpp_2m_sde"
    guidance_margin: float = 0.0
    step_cache: float = 0.0

    def __post_init__(self) -> None:
        find_guidance(self.guidance), find_solver(self.solver)
        if not (0 <= self.scale < 1000):
            raise SamplingError(f"got guidance scale {self.scale}, expected 0 to 1000")
        if not (0 <= self.guidance_margin < 1000):
            raise SamplingError(
                f"got guidance margin {self.guidance_margin}, expected 0 (exact) or a little more"
            )
        if not (0 <= self.step_cache <= 1):
            raise SamplingError(
                f"got step cache threshold {self.step_cache}, expected 0 (off) to 1"
            )
        if not 1 <= self.steps <= MOST_STEPS:
            raise SamplingError(f"got {self.steps} steps, expected 1 to {MOST_STEPS}")


def denoise(v: Tensor, x: Tensor, q: float) -> Tensor:
    """v-prediction to x0 (arXiv 2202.00512): x0 = q x - sqrt(1 - q^2) v, in float32."""
    return q * x - (1 - q * q) ** 0.5 * v.float()


def sample(
    predict: Predict,
    initial: Tensor,
    noise: DrawNoise,
    schedule: Schedule,
    settings: SamplerSettings,
    watch: Watch | None = None,
) -> Tensor:
    """Run the official recipe, or the rows chosen instead.

    Args:
        predict: the network with its conditions, both branches in one call, or one where guidance does nothing.
        initial: [B, G, C, H, W] float32 standard normal.
        noise: standard normal of the same shape for a step's number; on the device of ``initial``;
            the last step draws none.

    Returns:
        Clean latents [B, G, C, H, W], float32.
    """
    weight = find_guidance(settings.guidance)
    advance = find_solver(settings.solver)
    x = initial.float()
    previous_x0 = None
    for step in schedule.steps(settings.steps):
        x0 = _guided_x0(predict, x, step, weight(step, settings.scale), settings.guidance_margin)
        x = x0 if step.is_last else advance(step, x, x0, previous_x0, partial(noise, step.index))
        previous_x0 = x0
        if watch:
            watch(step, x, x0)
    return x


def _guided_x0(predict: Predict, x: Tensor, step: Step, weight: float, margin: float) -> Tensor:
    v_uncond, v_cond = predict(x, step.timestep, abs(weight - 1) > margin)
    x0 = denoise(v_cond, x, step.q)
    if v_uncond is None:
        return x0
    x0_uncond = denoise(v_uncond, x, step.q)
    return x0_uncond + weight * (x0 - x0_uncond)
