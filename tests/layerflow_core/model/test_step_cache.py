from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import SamplingError
from layerflow_core.layout import find_layout
from layerflow_core.model.step_cache import StepCache, cached_bytes
from layerflow_core.pipeline import Run, make_layers
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene


@pytest.fixture
def network(make_network):
    return make_network("gen_rgba")


@torch.inference_mode()
def run(cache, network, inputs, branches=(0, 1)):
    return cache.run(network.backbone, branches, lambda: network(*inputs))


def test_the_same_step_again_is_skipped_and_exact(network, inputs_for):
    cache, inputs = StepCache(network.config, network.config.layout, 0.01), inputs_for(network, 2)
    blocks = network.backbone.transformer_blocks
    expected = run(StepCache(network.config, network.config.layout, 0), network, inputs)
    first, again = run(cache, network, inputs), run(cache, network, inputs)
    assert (cache.computed, cache.skipped) == (
        1,
        1,
    ) and network.backbone.transformer_blocks is blocks
    assert torch.equal(first, expected) and torch.allclose(
        again, expected, atol=1e-5 * float(expected.abs().max())
    )


def test_one_changed_layer_is_enough(network, inputs_for):
    """The matte alone moves: the mean over all layers would stay below the threshold."""
    layout = network.config.layout
    cache, (latents, context, timestep) = (
        StepCache(network.config, layout, 0.2),
        inputs_for(network, 2),
    )
    run(cache, network, (latents, context, timestep))
    moved = latents.clone()
    moved[:, layout.span("alpha")] *= -1
    run(cache, network, (moved, context, timestep))
    assert (cache.computed, cache.skipped) == (2, 0)


def test_given_layers_do_not_count():
    given = find_layout("fg2bg_rgba")
    assert given.generated_spans == (given.span("background"), given.span("blended"))
    assert find_layout("seg_rgb").generated_spans[-1] == slice(8, 10), "the half that is generated"
    assert find_layout("channels_rgba").generated_spans == (slice(0, 4),)


def test_branches_are_known_apart(network, inputs_for):
    cache, both = StepCache(network.config, network.config.layout, 0.5), inputs_for(network, 2)
    one = tuple(x[1:] for x in both)
    run(cache, network, both)
    run(cache, network, one, (1,))
    assert (cache.computed, cache.skipped) == (1, 1)
    fresh = StepCache(network.config, network.config.layout, 0.5)
    run(fresh, network, one, (1,))
    run(fresh, network, both)
    assert fresh.skipped == 0, "nothing is known of the other branch"


def test_blocks_come_back_after_an_error(network):
    cache, blocks = (
        StepCache(network.config, network.config.layout, 0.5),
        network.backbone.transformer_blocks,
    )
    with pytest.raises(ZeroDivisionError):
        cache.run(network.backbone, (0, 1), lambda: 1 / 0)
    assert network.backbone.transformer_blocks is blocks


def test_its_memory_is_told(network, inputs_for):
    cache = StepCache(network.config, network.config.layout, 0.5)
    run(cache, network, inputs_for(network, 2))
    held = sum(
        t.numel() * t.element_size()
        for known in cache._known.values()
        for t in (known.first, known.others)
    )
    assert held == cached_bytes(network.config, 4)


def test_a_run_with_a_cache_is_close_and_off_by_default(embedded):
    scene = draw_scene(3, held_out=True)
    plain = SamplerSettings(12, "constant", 3.0, "dpmpp_2m")
    exact, close = (
        make_layers(embedded, Run(scene.prompts, {}, s, 1)).blended
        for s in (plain, replace(plain, step_cache=0.3))
    )
    assert 0 < (close - exact).abs().mean() < 0.03
    assert SamplerSettings().step_cache == SamplerSettings().guidance_margin == 0
    with pytest.raises(SamplingError, match="0 .off. to 1"):
        SamplerSettings(step_cache=1.5)
