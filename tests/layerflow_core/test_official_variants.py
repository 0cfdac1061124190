"""All eight official rows through the whole pipeline, with tiny random networks in place of the real ones."""

import pytest
import torch

from layerflow_core.errors import LayoutError
from layerflow_core.footage import decompose, fit_given, to_condition
from layerflow_core.layout import OFFICIAL_VARIANTS
from layerflow_core.model.loading import LayerFlowModel
from layerflow_core.model.text import TextEncoder, build_t5
from layerflow_core.model.vae import LayerVAE, build_vae
from layerflow_core.pipeline import Run, make_layers
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.captions import tokenizer_json, vocabulary

VAE = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 3,
    "up_block_types": ("CogVideoXUpBlock3D",) * 3,
    "block_out_channels": (8, 8, 8),
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "temporal_compression_ratio": 4,
    "scaling_factor": 1.15258426,
}
T5 = {
    "d_model": 8,
    "d_kv": 4,
    "num_heads": 2,
    "d_ff": 8,
    "num_layers": 1,
    "vocab_size": len(vocabulary()),
    "pad_token_id": 0,
}
PROMPTS = {
    "foreground": "a red star",
    "background": "a blue sky",
    "blended": "a red star in front of a blue sky",
}
QUICK = SamplerSettings(2)


@pytest.fixture
def make_model(make_network):
    def make(variant: str) -> LayerFlowModel:
        network = make_network(variant, content=2, motion=2)
        text = TextEncoder.from_data(
            tokenizer_json().encode(), build_t5(T5), network.config.network.tokens_per_text
        )
        return LayerFlowModel(network.config, network, text, LayerVAE(build_vae(VAE)))

    return make


def given_for(model: LayerFlowModel) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    height, width = model.frame_size
    return {
        name: torch.rand(16, 1 if name == "alpha" else 3, height, width)
        for name in model.config.layout.given_names
    }


@pytest.mark.parametrize("variant", OFFICIAL_VARIANTS)
def test_variant_runs_and_keeps_what_was_given(make_model, variant):
    model = make_model(variant)
    given = given_for(model)
    layers = make_layers(model, Run(PROMPTS, given, QUICK, 3))
    clips = {
        "foreground": layers.foreground,
        "alpha": layers.alpha,
        "background": layers.background,
        "blended": layers.blended,
    }
    for name, clip in clips.items():
        assert clip.shape == (16, 1 if name == "alpha" else 3, 16, 24) and clip.isfinite().all()
    assert all(torch.equal(clips[name], pixels) for name, pixels in given.items())
    assert (layers.foregrounds[0].alpha is None) == variant.endswith("_rgb")


@pytest.mark.parametrize("variant", ["seg_rgb", "seg_rgba"])
def test_decomposition_of_any_footage(make_model, variant):
    video = torch.rand(19, 3, 21, 50)
    layers = decompose(make_model(variant), video, Run(PROMPTS, {}, QUICK, 3))
    assert torch.equal(layers.blended, video)
    assert layers.foreground.shape == layers.background.shape == video.shape


@pytest.mark.parametrize("variant", ["fg2bg_rgb", "fg2bg_rgba"])
def test_foreground_with_alpha_fits_both_kinds(make_model, variant):
    model = make_model(variant)
    given = fit_given(
        model,
        to_condition(
            model.config.layout, "foreground", torch.rand(20, 3, 30, 30), torch.rand(20, 1, 30, 30)
        ),
    )
    assert set(given) == set(model.config.layout.given_names)
    make_layers(model, Run(PROMPTS, given, QUICK, 3))


@pytest.mark.parametrize("variant", OFFICIAL_VARIANTS)
def test_another_task_is_refused(make_model, variant):
    model = make_model(variant)
    wrong = (
        {"background": torch.rand(16, 3, 16, 24)}
        if "background" not in model.config.layout.given_names
        else {}
    )
    with pytest.raises(LayoutError, match="choose the checkpoint of this task"):
        make_layers(model, Run(PROMPTS, wrong, QUICK, 3))
