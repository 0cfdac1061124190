"""Solvers on a model that always predicts the same x0: the answer is known in closed form."""

import math

import pytest
import torch

from layerflow_core.errors import SamplingError
from layerflow_core.sampling.schedule import Schedule
from layerflow_core.sampling.solver import SOLVERS, find_solver


def walk(name: str, x: torch.Tensor, x0: torch.Tensor, count: int, noise: bool = False):
    """All steps but the last; the noise level that was reached, and x."""
    advance = find_solver(name)
    generator = torch.Generator().manual_seed(0)
    previous = None

    def draw():
        made = torch.randn(x0.shape, generator=generator)
        return made if noise else torch.zeros_like(x0)

    *steps, last = Schedule().steps(count)
    for step in steps:
        x = advance(step, x, x0, previous, draw)
        previous = x0
    return last.a, x


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_ode_solver_keeps_the_noise_it_began_with(count):
    """x = a x0 + sqrt(1 - a^2) n is the exact solution, with the very n of the beginning."""
    torch.manual_seed(1)
    noise = torch.randn(3, 4)
    x0 = torch.randn(3, 4)
    root, reached = walk("dpmpp_2m", noise, x0, count)
    assert torch.allclose(reached, root * x0 + math.sqrt(1 - root**2) * noise, atol=1e-5)


def test_the_sde_solver_reaches_the_spread_of_the_noise_level():
    x0 = torch.full((20_000,), 0.7)
    start = torch.randn(20_000, generator=torch.Generator().manual_seed(2))
    root, reached = walk("dpmpp_2m_sde", start, x0, 12, noise=True)
    assert float(reached.mean()) == pytest.approx(root * 0.7, abs=0.02)
    assert float(reached.std()) == pytest.approx(math.sqrt(1 - root**2), rel=0.03)


def test_the_deterministic_solver_draws_no_noise():
    step = Schedule().steps(4)[1]
    x = torch.ones(2)
    find_solver("dpmpp_2m")(step, x, x, x, lambda: pytest.fail("noise was drawn"))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_last_x0_bends_the_path(name):
    step = Schedule().steps(6)[2]
    x = torch.ones(2)
    advance = find_solver(name)
    straight = advance(step, x, x, x, lambda: torch.zeros(2))
    alone = advance(step, x, x, None, lambda: torch.zeros(2))
    bent = advance(step, x, x, 0 * x, lambda: torch.zeros(2))
    assert torch.allclose(straight, alone) and (bent > straight).all()


def test_an_unknown_solver_lists_those_there_are():
    with pytest.raises(SamplingError, match="got unknown solver 'euler', expected one of dpmpp_2m"):
        find_solver("euler")
