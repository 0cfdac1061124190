from dataclasses import replace

import pytest
import torch

from layerflow_core.sampling.schedule import Schedule
from layerflow_core.toy.captions import TOKENS_PER_TEXT
from layerflow_core.toy.head_by_head import HeadByHead
from layerflow_core.toy.scene_batches import SceneBatches
from layerflow_core.toy.scene_module import SceneTrainingModule, network_config
from layerflow_core.training.optimisers import is_block_matrix


def test_tokens_first_attend_to_their_own_place_in_all_clips(module):
    attention = module.network.backbone.transformer_blocks[0].attn1
    seen = {}
    hooks = [
        getattr(attention, n).register_forward_hook(lambda m, i, o, n=n: seen.update({n: o}))
        for n in ("norm_q", "norm_k")
    ]
    latents = 0.1 * torch.randn(1, 4, 8, 8, 12)
    module.predict(
        latents,
        torch.zeros(1, 3, TOKENS_PER_TEXT, dtype=torch.long),
        torch.zeros(1, 3, dtype=torch.bool),
        torch.tensor([500]),
    )
    for hook in hooks:
        hook.remove()
    text = 3 * TOKENS_PER_TEXT
    scores = (
        (seen["norm_q"] @ seen["norm_k"].transpose(-1, -2))
        .mean(1)[0, text:, text:]
        .unflatten(0, (4, 24))
        .unflatten(2, (4, 24))
    )
    for other in range(4):
        best = scores[3, :, other].argmax(-1)
        assert (best == torch.arange(24)).float().mean() > 0.9


def test_head_by_head_attention_is_attention(module):
    latents, ids = torch.randn(2, 4, 8, 8, 12), torch.zeros(2, 3, TOKENS_PER_TEXT, dtype=torch.long)
    keep, t = torch.ones(2, 3, dtype=torch.bool), torch.tensor([100, 900])
    with torch.no_grad():
        by_head = module.predict(latents, ids, keep, t)
        context = (
            module.t5(input_ids=ids.flatten(0, 1))
            .last_hidden_state.unflatten(0, (2, 3))
            .flatten(1, 2)
        )
        assert torch.allclose(by_head, module.network(latents, context, t), atol=1e-4)
    query = torch.randn(2, 3, 5, 4)
    mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    masked = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    with HeadByHead():  # what it is not for is left alone
        assert torch.equal(
            torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask),
            masked,
        )


def test_muon_gets_the_matrices_of_the_blocks(module):
    chosen = {name for name, _ in module.named_parameters() if is_block_matrix(name)}
    assert len(chosen) == 6 * 6 and all(module.get_parameter(name).ndim == 2 for name in chosen)


def test_position_rows_restart_with_every_clip(module):
    table = module.network.position_table[0, 3 * TOKENS_PER_TEXT :].unflatten(0, (4, 24))
    within = table - table[:, :1]
    assert torch.allclose(within[0], within[3], atol=1e-6) and not torch.allclose(
        table[0], table[3]
    )


@pytest.mark.parametrize("focus", [1.0, 20.0])
def test_loss_is_v_mse_of_the_generated_clips_alone(module, batches, focus, stage):
    batches.stage = replace(stage, focus=focus)
    batch = batches.draw(0, range(4))
    module.predict = lambda latents, *_: torch.zeros_like(latents)
    a = Schedule().denoiser_table[batch.timestep].view(-1, 1, 1, 1, 1)
    target = a * batch.noise - (1 - a * a).sqrt() * batch.clean
    per_clip = (target.square() * batch.weight).mean((2, 3, 4)) / batch.weight.mean((2, 3, 4))
    expected = [row[~given].mean() for row, given in zip(per_clip, batch.given)]
    assert torch.allclose(module(vars(batch)), torch.stack(expected), rtol=1e-4)


def test_layers_as_channels_share_their_positions(stage):
    network = SceneTrainingModule(network_config("channels_rgba", 1, (8, 8, 12)))
    assert network.network.position_table.shape[1] == 3 * TOKENS_PER_TEXT + 24
    loss = network(
        vars(
            SceneBatches(
                network.layout,
                torch.randn(2, 4, 1, 8, 8, 12),
                torch.zeros(2, 3, TOKENS_PER_TEXT).long(),
                stage,
                0,
            ).draw(0, range(2))
        )
    )
    assert loss.shape == (2,) and loss.isfinite().all()
