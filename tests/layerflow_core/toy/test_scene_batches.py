from dataclasses import replace

import pytest
import torch


def test_a_scene_depends_on_its_number_not_on_who_draws_it(batches):
    whole, parts = (
        batches.draw(3, range(6)),
        [batches.draw(3, range(2)), batches.draw(3, range(2, 6))],
    )
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(p, name) for p in parts])), name


def test_tasks_and_texts_come_as_often_as_they_should(batches):
    batch = batches.draw(0, range(1500))
    apart, free = batch.given[:, 3], ~batch.given.any(1)
    assert float(apart.float().mean()) == pytest.approx(0.45, abs=0.04) and float(
        free.float().mean()
    ) == pytest.approx(0.33, abs=0.04)
    assert torch.equal(batch.given[:, 0], batch.given[:, 1])  # a foreground is given with its alpha
    assert float(batch.keep_text[:, 0].float().mean()) == pytest.approx(0.81, abs=0.03)
    assert float(batch.keep_text[apart][:, 2].float().mean()) == pytest.approx(0.405, abs=0.05)
    assert float((batch.timestep >= 900).float().mean()) == pytest.approx(
        1 - 0.9 ** (1 / 0.7), abs=0.03
    )


def test_focus_lies_on_the_object_and_only_there(batches, stage):
    batches.stage = replace(stage, focus=20.0)
    clean = torch.zeros(4, 8, 8, 12)
    clean[0, :, 2:4, 5:8] = 1
    weight = batches._weigh(clean)
    assert (weight[0, 0, 2:4, 5:8] == 20).all() and weight[0].sum() == 90 + 6 * 20
    assert torch.equal(weight[3], weight[0]) and (weight[1:3] == 1).all()
