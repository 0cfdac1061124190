import pytest
import torch

from layerflow_core.training.seeding import draw_samples, mix_seed, pick_weighted


def test_seeds_differ_by_every_number_and_by_their_order():
    mixed = {mix_seed(*numbers) for numbers in ((1, 2, 3), (1, 3, 2), (1, 2), (1, 23), (12, 3))}
    assert len(mixed) == 5
    assert all(0 <= seed < 2**63 for seed in mixed)
    assert mix_seed(1, 2, 3) == mix_seed(1, 2, 3)


def test_weights_are_drawn_as_often_as_they_weigh():
    generator = torch.Generator().manual_seed(0)
    drawn = [pick_weighted([1.0, 0.0, 3.0], generator) for _ in range(2000)]
    assert set(drawn) == {0, 2}
    assert drawn.count(2) / 2000 == pytest.approx(0.75, abs=0.04)


def draw_one(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, generator=generator), torch.rand(1, generator=generator)


def test_a_batch_in_two_halves_is_the_batch_in_one():
    """So several processes draw what one would."""
    whole = list(draw_samples(draw_one, 7, 4, range(4)))
    halves = [list(draw_samples(draw_one, 7, 4, part)) for part in (range(2), range(2, 4))]
    for column, first, second in zip(whole, *halves):
        assert torch.equal(column, torch.cat([first, second]))
    assert whole[0].shape == (4, 3) and whole[1].shape == (4, 1)


def test_another_step_draws_other_samples():
    first, second = (next(draw_samples(draw_one, 7, step, range(2))) for step in (4, 5))
    assert not torch.equal(first, second)
