from dataclasses import replace

import pytest
import torch

from layerflow_core.sampling.schedule import Schedule
from layerflow_core.toy.attention import HeadByHead
from layerflow_core.toy.captions import TOKENS_PER_TEXT
from layerflow_core.toy.curriculum import CURRICULA, SHIPPED
from layerflow_core.toy.latents import LatentSet
from layerflow_core.toy.network_training import LayerLoss, Trainee, network_config
from layerflow_core.training.optimisers import is_block_matrix

STAGE = CURRICULA[SHIPPED].stages[0]


@pytest.fixture
def trainee():
    torch.manual_seed(0)
    return Trainee(network_config("unified_rgba", 1, (8, 8, 12)))


def test_tokens_first_attend_to_their_own_place_in_all_clips(trainee):
    attention = trainee.network.backbone.transformer_blocks[0].attn1
    seen = {}
    hooks = [getattr(attention, n).register_forward_hook(lambda m, i, o, n=n: seen.update({n: o})) for n in ("norm_q", "norm_k")]
    latents = 0.1 * torch.randn(1, 4, 8, 8, 12)
    trainee(latents, torch.zeros(1, 3, TOKENS_PER_TEXT, dtype=torch.long), torch.zeros(1, 3, dtype=torch.bool), torch.tensor([500]))
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
        by_head = trainee(latents, ids, keep, t)
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


class Silent:
    """Predicts nothing."""

    def __init__(self, layout):
        self.layout = layout

    def __call__(self, noisy, *_):
        return torch.zeros_like(noisy)


@pytest.mark.parametrize("focus", [1.0, 20.0])
def test_loss_is_v_mse_of_the_generated_clips_alone(trainee, focus):
    torch.manual_seed(1)
    stage = replace(STAGE, batch=3, focus=focus)
    loss = LayerLoss(Silent(trainee.layout), torch.zeros(3, 4, 1, 8, 8, 12), torch.zeros(3, 3, TOKENS_PER_TEXT, dtype=torch.long), stage, Schedule())
    clean, noise, t = torch.randn(3, 4, 8, 8, 12), torch.randn(3, 4, 8, 8, 12), torch.tensor([999, 500, 3])
    given = torch.tensor([[False, False, False, True], [True, True, False, False], [False] * 4])
    a = Schedule().denoiser_table[t].view(-1, 1, 1, 1, 1)
    target, weight = a * noise - (1 - a * a).sqrt() * clean, loss._focus(clean)
    per_clip = (target.square() * weight).mean((2, 3, 4)) / weight.mean((2, 3, 4))
    assert float(loss._terms(clean, noise, t, given, None, None)["loss"]) == pytest.approx(float(per_clip[~given].mean()), rel=1e-4)


def test_focus_lies_on_the_object_and_only_there(trainee):
    loss = LayerLoss(trainee, torch.zeros(1, 4, 1, 8, 8, 12), torch.zeros(1, 3, 16, dtype=torch.long), replace(STAGE, focus=20.0), Schedule())
    clean = torch.zeros(1, 4, 8, 8, 12)
    clean[0, 0, :, 2:4, 5:8] = 1
    weight = loss._focus(clean)
    assert (weight[0, 0, 0, 2:4, 5:8] == 20).all() and weight[0, 0].sum() == 90 + 6 * 20
    assert torch.equal(weight[0, 3], weight[0, 0]) and (weight[0, 1:3] == 1).all()


def test_latent_sets_survive_the_disk(tmp_path):
    latents = torch.randn(2, 4, 1, 8, 3, 4).half()
    LatentSet(latents, [["a", "b", "c"]] * 2, torch.zeros(8), torch.ones(8)).save(tmp_path / "x.safetensors")
    back = LatentSet.load(tmp_path / "x.safetensors")
    assert torch.equal(back.latents, latents) and back.prompts == [["a", "b", "c"]] * 2
    assert torch.equal(back.normalised(), latents)
