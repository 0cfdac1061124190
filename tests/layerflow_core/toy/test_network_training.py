from dataclasses import replace

import pytest
import torch

from layerflow_core.sampling.schedule import Schedule
from layerflow_core.toy.attention import HeadByHead
from layerflow_core.toy.captions import TOKENS_PER_TEXT
from layerflow_core.toy.curriculum import CURRICULA, SHIPPED
from layerflow_core.toy.latents import LatentSet
from layerflow_core.toy.network_training import SceneBatches, SceneTrainee, network_config
from layerflow_core.training.optimisers import is_block_matrix

STAGE = CURRICULA[SHIPPED].stages[0]


@pytest.fixture
def trainee():
    torch.manual_seed(0)
    return SceneTrainee(network_config("unified_rgba", 1, (8, 8, 12)))


def test_tokens_first_attend_to_their_own_place_in_all_clips(trainee):
    attention = trainee.network.backbone.transformer_blocks[0].attn1
    seen = {}
    hooks = [getattr(attention, n).register_forward_hook(lambda m, i, o, n=n: seen.update({n: o})) for n in ("norm_q", "norm_k")]
    latents = 0.1 * torch.randn(1, 4, 8, 8, 12)
    trainee.predict(latents, torch.zeros(1, 3, TOKENS_PER_TEXT, dtype=torch.long), torch.zeros(1, 3, dtype=torch.bool), torch.tensor([500]))
    for hook in hooks:
        hook.remove()
    text = 3 * TOKENS_PER_TEXT
    scores = (seen["norm_q"] @ seen["norm_k"].transpose(-1, -2)).mean(1)[0, text:, text:].unflatten(0, (4, 24)).unflatten(2, (4, 24))
    for other in range(4):
        best = scores[3, :, other].argmax(-1)
        assert (best == torch.arange(24)).float().mean() > 0.9


def test_head_by_head_attention_is_attention(trainee):
    latents, ids = torch.randn(2, 4, 8, 8, 12), torch.zeros(2, 3, TOKENS_PER_TEXT, dtype=torch.long)
    keep, t = torch.ones(2, 3, dtype=torch.bool), torch.tensor([100, 900])
    with torch.no_grad():
        by_head = trainee.predict(latents, ids, keep, t)
        context = trainee.t5(input_ids=ids.flatten(0, 1)).last_hidden_state.unflatten(0, (2, 3)).flatten(1, 2)
        assert torch.allclose(by_head, trainee.network(latents, context, t), atol=1e-4)
    query = torch.randn(2, 3, 5, 4)
    mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    masked = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    with HeadByHead():  # what it is not for is left alone
        assert torch.equal(torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask), masked)


def test_muon_gets_the_matrices_of_the_blocks(trainee):
    chosen = {name for name, _ in trainee.named_parameters() if is_block_matrix(name)}
    assert len(chosen) == 6 * 6 and all(trainee.get_parameter(name).ndim == 2 for name in chosen)


def test_position_rows_restart_with_every_clip(trainee):
    table = trainee.network.position_table[0, 3 * TOKENS_PER_TEXT :].unflatten(0, (4, 24))
    within = table - table[:, :1]
    assert torch.allclose(within[0], within[3], atol=1e-6) and not torch.allclose(table[0], table[3])


@pytest.fixture
def batches(trainee):
    torch.manual_seed(1)
    return SceneBatches(trainee.layout, torch.randn(3, 4, 2, 8, 8, 12).half(), torch.arange(9).view(3, 3, 1).expand(-1, -1, TOKENS_PER_TEXT), STAGE, 0)


@pytest.mark.parametrize("focus", [1.0, 20.0])
def test_loss_is_v_mse_of_the_generated_clips_alone(trainee, batches, focus):
    batches.stage = replace(STAGE, focus=focus)
    batch = batches.draw(0, range(4))
    trainee.predict = lambda latents, *_: torch.zeros_like(latents)
    a = Schedule().denoiser_table[batch.timestep].view(-1, 1, 1, 1, 1)
    target = a * batch.noise - (1 - a * a).sqrt() * batch.clean
    per_clip = (target.square() * batch.weight).mean((2, 3, 4)) / batch.weight.mean((2, 3, 4))
    expected = [row[~given].mean() for row, given in zip(per_clip, batch.given)]
    assert torch.allclose(trainee(vars(batch)), torch.stack(expected), rtol=1e-4)


def test_a_scene_depends_on_its_number_not_on_who_draws_it(batches):
    whole, parts = batches.draw(3, range(6)), [batches.draw(3, range(2)), batches.draw(3, range(2, 6))]
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(p, name) for p in parts])), name


def test_tasks_and_texts_come_as_often_as_they_should(batches):
    batch = batches.draw(0, range(1500))
    apart, free = batch.given[:, 3], ~batch.given.any(1)
    assert float(apart.float().mean()) == pytest.approx(0.45, abs=0.04) and float(free.float().mean()) == pytest.approx(0.33, abs=0.04)
    assert torch.equal(batch.given[:, 0], batch.given[:, 1])  # a foreground is given with its alpha
    assert float(batch.keep_text[:, 0].float().mean()) == pytest.approx(0.81, abs=0.03)
    assert float(batch.keep_text[apart][:, 2].float().mean()) == pytest.approx(0.405, abs=0.05)
    assert float((batch.timestep >= 900).float().mean()) == pytest.approx(1 - 0.9 ** (1 / 0.7), abs=0.03)


def test_focus_lies_on_the_object_and_only_there(batches):
    batches.stage = replace(STAGE, focus=20.0)
    clean = torch.zeros(4, 8, 8, 12)
    clean[0, :, 2:4, 5:8] = 1
    weight = batches._weigh(clean)
    assert (weight[0, 0, 2:4, 5:8] == 20).all() and weight[0].sum() == 90 + 6 * 20
    assert torch.equal(weight[3], weight[0]) and (weight[1:3] == 1).all()


def test_layers_as_channels_share_their_positions():
    network = SceneTrainee(network_config("channels_rgba", 1, (8, 8, 12)))
    assert network.network.position_table.shape[1] == 3 * TOKENS_PER_TEXT + 24
    loss = network(vars(SceneBatches(network.layout, torch.randn(2, 4, 1, 8, 8, 12), torch.zeros(2, 3, TOKENS_PER_TEXT).long(), STAGE, 0).draw(0, range(2))))
    assert loss.shape == (2,) and loss.isfinite().all()


def test_latent_sets_survive_the_disk(tmp_path):
    latents = torch.randn(2, 4, 1, 8, 3, 4).half()
    LatentSet(latents, [["a", "b", "c"]] * 2, torch.zeros(8), torch.ones(8)).save(tmp_path / "x.safetensors")
    back = LatentSet.load(tmp_path / "x.safetensors")
    assert torch.equal(back.latents, latents) and back.prompts == [["a", "b", "c"]] * 2
    assert torch.equal(back.normalised(), latents)
