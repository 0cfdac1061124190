from dataclasses import replace

import pytest
import torch

from layerflow_core.layout import JOINT, PER_CLIP, find_layout
from layerflow_core.model.vae import (
    FINELY_TILED,
    STREAMED,
    TILED,
    VAE_MODES,
    WHOLE,
    LayerVAE,
    build_vae,
    in_channels_last,
)
from layerflow_core.sampling.noise import POSTERIOR, NoiseSource

CONFIG = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 3,
    "up_block_types": ("CogVideoXUpBlock3D",) * 3,
    "block_out_channels": (8, 8, 8),
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "temporal_compression_ratio": 4,
    "scaling_factor": 1.15258426,
}


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    module = build_vae(CONFIG)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return LayerVAE(module)


def clips_of(layout):
    torch.manual_seed(1)
    return {name: torch.rand(16, 3, 8, 8) * 2 - 1 for name in layout.names}


@pytest.mark.parametrize("variant, frames", [("gen_rgb", 12), ("gen_rgba", 16), ("fg2bg_rgba", 17)])
def test_whole_stack_gives_the_layouts_latents_and_back(vae, variant, frames):
    layout = find_layout(variant)
    latents = vae.encode(clips_of(layout), layout, NoiseSource(0).generator(POSTERIOR))
    assert latents.shape == (1, frames, 4, 2, 2)
    decoded = vae.decode(latents, layout)
    assert {name: tuple(clip.shape) for name, clip in decoded.items()} == {
        name: (16, 3, 8, 8) for name in layout.names
    }


def test_stack_is_one_call_of_the_vae(vae):
    """Group norm and causal convolutions see across clips; encoding them apart gives something else."""
    layout = find_layout("gen_rgb")
    clips = clips_of(layout)
    together = vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR))
    stack = layout.stack(clips).transpose(0, 1)[None]
    with torch.inference_mode():
        hidden = vae.vae.encoder(stack)
        moments = (hidden[0] if isinstance(hidden, tuple) else hidden)[0].transpose(0, 1)
    mean, logvar = moments.chunk(2, 1)
    noise = torch.randn(1, 4, 12, 2, 2, generator=NoiseSource(0).generator(POSTERIOR))[0].transpose(
        0, 1
    )
    expected = (mean + (0.5 * logvar.clamp(-30, 20)).exp() * noise) * 1.15258426
    assert torch.allclose(together[0], expected, atol=1e-4)
    apart = vae.encode(
        clips, replace(layout, vae_batching=PER_CLIP), NoiseSource(0).generator(POSTERIOR)
    )
    assert not torch.allclose(apart, together, atol=1e-2)


def test_clip_encoding_does_not_see_other_clips(vae):
    layout = replace(find_layout("gen_rgb"), vae_batching=PER_CLIP)
    clips = clips_of(layout)
    first = vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR))
    clips["background"] = -clips["background"]
    second = vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR))
    for name in ("foreground", "blended"):
        assert torch.equal(first[:, layout.span(name)], second[:, layout.span(name)])
    assert layout.vae_batching != JOINT


def test_posterior_is_sampled_with_the_runs_generator(vae):
    layout = find_layout("gen_rgb")
    clips = clips_of(layout)
    draws = [
        vae.encode(clips, layout, NoiseSource(seed).generator(POSTERIOR)) for seed in (3, 3, 4)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_embedded_vae_restores_clips(embedded):
    from layerflow_core.toy.vae_training import model_clips
    from layerflow_core.toy.world import draw_scene, render

    layout = embedded.config.layout
    clips = dict(zip(layout.names, model_clips(render(draw_scene(3, held_out=True)))))
    restored = embedded.vae.decode(
        embedded.vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR)), layout
    )
    for name in layout.names:
        assert (restored[name] - clips[name]).square().mean() < 0.03, name


@pytest.mark.parametrize("mode", VAE_MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("variant", ["gen_rgba", "fg2bg_rgba", "unified_rgba"])
def test_every_mode_gives_all_frames(vae, mode, variant):
    layout = find_layout(variant)
    torch.manual_seed(1)
    clips = {name: torch.rand(16, 3, 56, 44) * 2 - 1 for name in layout.names}
    latents = vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR), mode)
    assert latents.shape == (1, layout.frames, 4, 14, 11)
    assert {tuple(clip.shape) for clip in vae.decode(latents, layout, mode).values()} == {
        (16, 3, 56, 44)
    }


@pytest.mark.parametrize("mode", (WHOLE, STREAMED, TILED), ids=lambda mode: mode.name)
@pytest.mark.parametrize("variant", ["seg_rgb", "fg2bg_rgba"])
@pytest.mark.parametrize("batching", [JOINT, PER_CLIP])
def test_known_clips_are_left_out_where_no_other_one_changes(vae, mode, variant, batching):
    layout = replace(find_layout(variant), vae_batching=batching)
    latents = torch.randn(1, layout.frames, 4, 14, 11, generator=torch.Generator().manual_seed(1))
    whole = vae.decode(latents, layout, mode)
    known = ("blended", "background")
    part = vae.decode(latents, layout, mode, known)
    assert set(part) == set(layout.names) - set(known)
    assert all(torch.equal(clip, whole[name]) for name, clip in part.items())


@pytest.mark.parametrize(
    ("variant", "known", "stretch", "decoded"),
    [
        ("seg_rgba", ("blended",), 2, 12),
        ("seg_rgba", ("blended",), 0, 16),  # group norm of a whole stack sees all
        ("seg_rgba", ("foreground", "alpha"), 2, 16),  # those behind them see them
        ("seg_rgba", ("background", "blended"), 2, 8),
        ("fg2bg_rgba", ("blended",), 2, 13),  # the leading frame goes with the first stretch
        ("seg_rgba", ("blended",), 3, 16),  # 12 frames would fall into other stretches than 16
        ("gen_rgba", (), 2, 16),
    ],
)
def test_what_is_decoded(variant, known, stretch, decoded):
    spans = find_layout(variant).vae_spans_beside(known, stretch)
    assert sum(span.stop - span.start for span in spans) == decoded


def test_modes_are_close_on_a_trained_vae(embedded):
    """Group norm sees less of the stack; the causal cache keeps frames in step."""
    from layerflow_core.rgba import to_model
    from layerflow_core.toy.world import draw_scene, render

    truth, layout, vae = render(draw_scene(5)), embedded.config.layout, embedded.vae
    layers = {
        "foreground": truth.foreground,
        "alpha": truth.alpha,
        "background": truth.background,
        "blended": truth.blended,
    }
    clips = to_model(layers, layout)
    latents = vae.encode(clips, layout, NoiseSource(0).generator(POSTERIOR))
    whole = vae.decode(latents, layout)
    for mode, most in ((STREAMED, 0.1), (TILED, 0.2), (FINELY_TILED, 0.2)):
        other = vae.decode(latents, layout, mode)
        assert 0 < max((other[name] - whole[name]).abs().mean() for name in layout.names) < most
    assert all(torch.equal(clip, whole[name]) for name, clip in vae.decode(latents, layout).items())


def test_channels_last_changes_rounding_alone(vae):

    layout = find_layout("gen_rgb")
    latents = torch.randn(1, layout.frames, 4, 2, 2)
    other = LayerVAE(in_channels_last(vae.vae))
    for name, expected in vae.decode(latents, layout).items():
        assert torch.allclose(
            other.decode(latents, layout)[name], expected, atol=1e-4 * float(expected.abs().max())
        )
