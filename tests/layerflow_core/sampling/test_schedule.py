import json

import pytest
import torch
from safetensors.torch import load_file

from layerflow_core.errors import SamplingError
from layerflow_core.official.verification import GOLDEN
from layerflow_core.sampling.guidance import constant_weight, dynamic_weight, find_guidance
from layerflow_core.sampling.schedule import MOST_STEPS, Schedule, zero_terminal_snr

SCHEDULE = Schedule()


def test_tables_and_guidance_against_the_record():
    recorded = load_file(GOLDEN / "sampler_10.safetensors")
    described = json.loads((GOLDEN / "sampler_10.json").read_text())["steps"]
    assert torch.allclose(
        SCHEDULE.denoiser_table, recorded["table.sqrt_alphas_cumprod_1000"], atol=1e-7
    )
    steps = SCHEDULE.steps(10)
    assert torch.allclose(
        torch.tensor([s.a for s in steps]),
        recorded["table.sqrt_alphas_cumprod_steps"][:10],
        atol=1e-7,
    )
    for step, expected in zip(steps, described):
        assert step.timestep == expected["timestep"]
        assert step.q == pytest.approx(expected["denoiser_sqrt_alpha_cumprod"], abs=1e-7)
        assert step.b == pytest.approx(expected["next_sqrt_alpha_cumprod"], abs=1e-7)
        assert dynamic_weight(step, 6) == pytest.approx(expected["guidance"], abs=1e-9)


@pytest.mark.parametrize("count", range(1, MOST_STEPS + 1))
def test_every_step_count(count):
    steps = SCHEDULE.steps(count)
    assert [s.timestep for s in steps] == [int(999 - i * 999 / count) for i in range(count)]
    levels = [s.a for s in steps] + [steps[-1].b]
    assert levels[0] == 0 and levels[-1] == 1
    assert all(low < high for low, high in zip(levels, levels[1:]))
    assert all(s.q in SCHEDULE.denoiser_table for s in steps)


def test_known_snapping_of_fifty_steps():
    """42 steps snap to their own timestep's entry, the last 8 to the one before."""
    table = SCHEDULE.denoiser_table.tolist()
    shifts = [s.timestep - table.index(s.q) for s in SCHEDULE.steps(50)]
    assert shifts == [0] * 42 + [1] * 8


def test_zero_terminal_snr_keeps_the_first():
    roots = zero_terminal_snr(torch.tensor([0.81, 0.49, 0.25]))
    assert torch.allclose(roots, torch.tensor([0.9, 0.45, 0.0]))


@pytest.mark.parametrize("count", [0, -1, 201])
def test_step_counts_that_are_refused(count):
    with pytest.raises(SamplingError, match="1 to 200"):
        SCHEDULE.steps(count)


def test_guidance_rows():
    step = SCHEDULE.steps(4)[0]
    assert constant_weight(step, 5.0) == 5.0
    with pytest.raises(SamplingError, match="dynamic"):
        find_guidance("strong")
