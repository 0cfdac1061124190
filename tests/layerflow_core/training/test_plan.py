from dataclasses import fields

import pytest

from layerflow_core.errors import TrainingError
from layerflow_core.training.plan import RENAMED, TrainPlan, current_fields


def test_rates_rise_and_fall():
    falling = TrainPlan(100, warmup_steps=10, lr_schedule="cosine")
    constant = TrainPlan(100, warmup_steps=10, lr_schedule="constant")
    shares = [falling.lr_factor(step) for step in range(100)]
    assert shares[0] == 0.1 and max(shares) == 1.0 and shares[-1] < 0.01
    assert shares[:10] == sorted(shares[:10])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert constant.lr_factor(4) == 0.5 and constant.lr_factor(99) == 1.0


def test_a_warm_up_longer_than_the_training_never_reaches_the_peak():
    plan = TrainPlan(5, warmup_steps=10)
    assert [plan.lr_factor(step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, "plan.steps = 0"),
        ({"lr": -1e-4}, "plan.lr = -0.0001, expected more than 0"),
        ({"keep_last": 0}, "plan.keep_last"),
        ({"precision": "int8"}, "'int8', expected one of no, bf16, fp16"),
        ({"lr_schedule": "linear"}, "expected one of cosine, constant"),
        ({"ema_decay": 1.0}, "expected 0 to below 1"),
    ],
)
def test_what_cannot_be_trained_is_named(changes, message):
    with pytest.raises(TrainingError, match=message):
        TrainPlan(**{"steps": 10, **changes})


def test_names_of_the_first_versions_are_understood():
    old = {name: number for number, name in enumerate(RENAMED)}
    assert current_fields(old) == {new: old[name] for name, new in RENAMED.items()}
    assert set(RENAMED.values()) <= {field.name for field in fields(TrainPlan)}


def test_a_new_name_goes_before_its_old_one():
    assert current_fields({"rate": 1, "lr": 2, "steps": 3}) == {"lr": 2, "steps": 3}
