import math

import pytest

from layerflow_core.errors import SamplingError
from layerflow_core.sampling.guidance import GUIDANCES, find_guidance
from layerflow_core.sampling.schedule import Schedule


def test_constant_guidance_is_the_scale_at_every_step():
    weigh = find_guidance("constant")
    assert {weigh(step, 3.5) for step in Schedule().steps(7)} == {3.5}


def test_dynamic_guidance_stays_between_1_and_1_and_the_scale():
    weigh = find_guidance("dynamic")
    for count in (1, 8, 50):
        weights = [weigh(step, 6.0) for step in Schedule().steps(count)]
        assert all(1 <= weight <= 7 for weight in weights)
        assert len(set(weights)) == count


def test_dynamic_guidance_is_fed_with_the_timestep():
    """The official formula, written out; where timestep and step count are equal it adds nothing."""
    weigh = find_guidance("dynamic")
    for step in Schedule().steps(10):
        share = ((10 - step.timestep) / 10) ** 5
        assert weigh(step, 6.0) == pytest.approx(1 + 6 * (1 - math.cos(math.pi * share)) / 2)


@pytest.mark.parametrize("name", GUIDANCES)
def test_no_guidance_is_below_the_conditional_prediction_alone(name):
    for step in Schedule().steps(5):
        assert GUIDANCES[name](step, 1.0) >= 1


def test_an_unknown_guidance_lists_those_there_are():
    with pytest.raises(SamplingError, match="got unknown guidance 'none', expected one of dynamic"):
        find_guidance("none")
