from dataclasses import replace

import torch

from layerflow_core.check.cases import Bench
from layerflow_core.check.own_model import own_model, problems_of
from layerflow_core.layers import Foreground, LayerVideo

CPU = torch.device("cpu")


def test_without_a_model_there_is_nothing_to_run():
    assert list(own_model(Bench(CPU))) == []


def test_a_run_of_the_users_model(quick_checkpoint):
    rows = dict(own_model(Bench(CPU, quick_checkpoint)))
    assert list(rows) == ["4 steps, auto", "4 steps, fp8"]
    reading = rows["4 steps, auto"]()
    assert [part.split()[0] for part in reading.cells[1].split(", ")] == [
        "loading",
        "encode",
        "text",
        "sample",
        "decode",
    ]


def test_black_and_nan_are_found():
    noise = torch.rand(2, 3, 4, 4)
    matte = torch.zeros(2, 1, 4, 4)
    sound = LayerVideo((Foreground("foreground", noise, matte),), noise, noise, 8.0)
    assert problems_of(sound) == [], "an empty matte is no fault"
    assert problems_of(replace(sound, background=torch.zeros_like(noise))) == [
        "background is of one colour, 0.00 of 0..1"
    ]
    broken = noise.clone()
    broken[0, 0, 0, 0] = float("nan")
    assert problems_of(replace(sound, blended=broken)) == ["blended has NaN or infinite values"]
