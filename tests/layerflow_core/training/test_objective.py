import pytest
import torch

from layerflow_core.layout import find_layout
from layerflow_core.model.lora import set_strengths
from layerflow_core.sampling.schedule import Schedule
from layerflow_core.training.data.cache import CachedClip
from layerflow_core.training.objective import (
    Batch,
    BatchMaker,
    LayerObjective,
    LayerTrainingModule,
    Mixture,
)
from layerflow_core.training.stages import choose_trainable, task_layouts

LAYOUT = find_layout("unified_rgba")


def clip(value: float) -> CachedClip:
    return CachedClip(
        torch.full((16, 4, 4, 6), value), torch.zeros(16, 4, 4, 6), torch.ones(3, 5, 8)
    )


@pytest.fixture
def maker():
    return BatchMaker(
        Mixture([([clip(1.0)], 0.0, 0.75), ([clip(2.0)], 1.0, 0.25)]), task_layouts(LAYOUT, "all")
    )


def test_a_sample_depends_on_its_number_not_on_who_draws_it(maker):
    whole, parts = maker.draw(3, range(6)), [maker.draw(3, range(2)), maker.draw(3, range(2, 6))]
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(p, name) for p in parts])), name
    assert not torch.equal(whole.noise, maker.draw(4, range(6)).noise)


def test_shares_tasks_and_dropped_texts_come_as_often_as_they_should(maker):
    batch = maker.draw(0, range(1500))
    assert float(batch.motion.mean()) == pytest.approx(0.25, abs=0.04)
    assert torch.equal(
        batch.clean[:, 0, 0, 0, 0] == 2, batch.motion == 1
    )  # the switch belongs to its source
    given = batch.given.unflatten(1, (4, 4))
    assert torch.equal(given.all(2), given.any(2))
    rates = {
        "generate": ~given.any(2).any(1),
        "decompose": given[:, 3, 0],
        "foreground": given[:, 0, 0] & given[:, 1, 0],
        "background": given[:, 2, 0],
    }
    for name, expected in (
        ("generate", 0.33),
        ("decompose", 0.45),
        ("foreground", 0.11),
        ("background", 0.11),
    ):
        assert float(rates[name].float().mean()) == pytest.approx(expected, abs=0.04), name
    kept = batch.context.unflatten(1, (3, 5)).any(-1)
    assert torch.equal(kept.all(2), kept.any(2)) and float(kept.float().mean()) == pytest.approx(
        0.9, abs=0.02
    )


def test_given_clips_enter_clean_and_take_no_loss(make_network):
    network = make_network("unified_rgba")
    batch = BatchMaker(Mixture([([clip(1.0)], 0.0, 1.0)]), task_layouts(LAYOUT, "decompose")).draw(
        0, range(2)
    )
    objective = LayerObjective(Schedule())
    noisy = objective.noisy(batch)
    assert (
        torch.equal(noisy[:, 12:], batch.clean[:, 12:])
        and not torch.isclose(noisy[:, :12], batch.clean[:, :12]).all()
    )
    with torch.no_grad():
        v = network(noisy, batch.context, batch.timestep)
        expected = (v - objective.target(batch))[:, :12].square().mean((1, 2, 3, 4))
        assert torch.allclose(
            LayerTrainingModule(network, objective)(vars(batch)), expected, atol=1e-5
        )


def test_v_of_the_official_schedule_gives_back_the_clean_clip(maker):
    batch, objective = maker.draw(0, range(4)), LayerObjective(Schedule())
    signal = Schedule().denoiser_table[batch.timestep].view(-1, 1, 1, 1, 1)
    noisy = objective.noisy(Batch(**{**vars(batch), "given": torch.zeros_like(batch.given)}))
    restored = signal * noisy - (1 - signal**2).sqrt() * objective.target(batch)
    assert torch.allclose(restored, batch.clean, atol=1e-4)


def test_the_motion_switch_acts_on_each_sample_alone(make_network):
    network = make_network("unified_rgba", motion=2)
    set_strengths(network.backbone, {"motion": 1.0})
    maker = BatchMaker(Mixture([([clip(1.0)], 1.0, 1.0)]), task_layouts(LAYOUT, "generate"))
    batch, objective = maker.draw(0, range(2)), LayerObjective(Schedule())
    mixed = Batch(**{**vars(batch), "motion": torch.tensor([1.0, 0.0])})
    with torch.no_grad():
        module = LayerTrainingModule(network, objective)
        on = module(vars(batch))
        with module.step_context(vars(mixed)):
            both = module(vars(mixed))
        set_strengths(network.backbone, {"motion": 0.0})
        off = module(vars(mixed))
    assert both[0] == pytest.approx(float(on[0]), rel=1e-5) and both[1] == pytest.approx(
        float(off[1]), rel=1e-5
    )
    assert abs(float(on[1] - off[1])) > 1e-4


def test_the_motion_switch_reaches_what_is_computed_again(make_network):
    """Gradients with gradient_checkpointing equal those without."""
    maker = BatchMaker(
        Mixture([([clip(1.0)], 1.0, 0.5), ([clip(2.0)], 0.0, 0.5)]),
        task_layouts(LAYOUT, "generate"),
    )
    batch, objective, gradients = maker.draw(0, range(4)), LayerObjective(Schedule()), []
    assert 0 < batch.motion.sum() < 4
    for again in (False, True):
        network = make_network("unified_rgba", motion=2)
        set_strengths(network.backbone, {"motion": 1.0})
        choose_trainable(network, "motion", "every")
        module = LayerTrainingModule(network, objective, gradient_checkpointing=again).train()
        with module.step_context(vars(batch)):
            module(vars(batch)).mean().backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in network.parameters() if p.requires_grad])
        )
    assert gradients[0].abs().max() > 0 and torch.allclose(*gradients, atol=1e-6)
