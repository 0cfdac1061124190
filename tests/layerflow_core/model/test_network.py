import pytest
import torch

from layerflow_core.errors import LayoutError
from layerflow_core.layout import Clip, Layout


def test_folding_the_layer_embedding_changes_nothing(make_network, inputs_for):
    network = make_network("gen_rgba")
    inputs = inputs_for(network)
    folded = network(*inputs)
    assert torch.equal(network.unfold()(*inputs), folded)


def test_position_table_is_the_one_that_is_used(make_network, inputs_for):
    network = make_network("gen_rgb")
    inputs = inputs_for(network)
    before = network(*inputs)
    network.position_table.data[:, -1] += torch.randn(
        network.config.network.hidden_size
    )  # a constant would be normed away
    assert not torch.allclose(network.fold()(*inputs), before)


def test_layer_embedding_tells_prompts_apart(make_network, inputs_for):
    latents, context, t = inputs_for(make_network("gen_rgba"))
    swapped = context.unflatten(1, (3, -1))[:, [1, 0, 2]].flatten(1, 2)
    plain, embedded = make_network("gen_rgb"), make_network("gen_rgba")
    assert not torch.allclose(
        embedded(latents, swapped, t), embedded(latents, context, t), atol=1e-4
    )
    # Without embedder and with equal text rows the network cannot know the order.
    plain.position_table.data[:, : plain.config.text_length] = 0
    latents = inputs_for(plain)[0]
    assert torch.allclose(plain.fold()(latents, swapped, t), plain(latents, context, t), atol=1e-4)


def test_other_shapes_are_refused_not_silently_repositioned(make_network, inputs_for):
    network = make_network("gen_rgb")
    latents, context, t = inputs_for(network)
    for wrong in (latents[:, :-1], latents[..., :-2], torch.cat([latents, latents], 3)):
        with pytest.raises(LayoutError, match="position table"):
            network(wrong, context, t)
    with pytest.raises(LayoutError, match="text of"):
        network(latents, context[:, :-1], t)


def test_final_norm_has_the_official_eps(make_network):
    assert make_network().backbone.norm_out.norm.eps == 1e-6


def test_a_row_no_official_variant_has_runs(make_network, inputs_for):
    """Two foregrounds over one background, two clips of which are given: no code knows of it."""
    from layerflow_core.model.loading import LayerFlowModel
    from layerflow_core.pipeline import predictor
    from layerflow_core.sampling.noise import NoiseSource
    from layerflow_core.sampling.sampler import SamplerSettings, sample
    from layerflow_core.sampling.schedule import Schedule

    names = (
        ("car", "foreground"),
        ("car matte", "alpha"),
        ("dog", "foreground"),
        ("dog matte", "alpha"),
        ("street", "background"),
    )
    row = Layout(
        "two foregrounds",
        tuple(Clip(n, k) for n, k in names),
        ("car", "dog", "street"),
        layer_embedding=True,
    ).with_given("car", "car matte")
    network = make_network(row)
    full, context, _ = inputs_for(network)
    given = row.given_of(full)
    predict = predictor(LayerFlowModel(network.config, network), row, context, given)
    shape = tuple(row.generated_of(full).shape)
    noise = NoiseSource(0)
    (none, alone), (_, together) = (
        predict(noise.initial(shape), 500, guided) for guided in (False, True)
    )
    assert none is None and torch.allclose(alone, together, atol=1e-5)
    latents = sample(
        predict, noise.initial(shape), noise.per_step(shape), Schedule(), SamplerSettings(3)
    )
    assert torch.equal(row.join(latents, given)[:, :8], full[:, :8])
    assert latents.isfinite().all() and latents.shape == shape


def test_layers_as_channels_are_a_row(make_network, inputs_for):
    """The paper's alternative: the same clips in a quarter of the tokens, through the same code."""
    network = make_network("channels_rgba")
    latents, context, t = inputs_for(network)
    assert network.position_table.shape[1] == network.config.sequence_length == 3 * 5 + 4 * 6
    v = network(latents, context, t)
    assert v.shape == latents.shape
    layout = network.config.layout
    assert torch.equal(layout.from_network(layout.to_network(latents)), latents)
    seen = layout.to_network(latents)
    assert torch.equal(seen[:, 2, 4:8], latents[:, layout.span("alpha")][:, 2])
    changed = latents.clone()
    changed[:, layout.span("blended")] += 1
    assert (network(changed, context, t) - v)[:, layout.span("foreground")].abs().max() > 1e-4
