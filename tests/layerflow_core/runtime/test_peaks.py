import copy
from dataclasses import replace

import pytest
import torch

from layerflow_core.inference import ComputeOptions, with_approximations, with_compute
from layerflow_core.model.lora_file import share_weights
from layerflow_core.model.vae import ON_CPU, VAE_MODES, Decoder, LayerVAE, build_vae, set_mode
from layerflow_core.runtime import peaks
from layerflow_core.runtime.memory import WORKSPACE, count_peak
from layerflow_core.runtime.peaks import network_peak, vae_peak

CPU = torch.device("cpu")
SIZE = (30, 45)  # half of the true one, in latents


@pytest.fixture
def wide_model(embedded):
    """With a VAE of fewer channels and the true number of levels, on frames that are large enough for tiles."""
    config = {"block_out_channels": [16, 16, 32, 32], "latent_channels": 16, "norm_num_groups": 4}
    levels = ["DownBlock3D", "UpBlock3D"]
    down, up = (["CogVideoX" + name] * 4 for name in levels)
    with torch.device("meta"):
        vae = build_vae({**config, "down_block_types": down, "up_block_types": up})
    network = replace(
        embedded.config.network, latent_height=SIZE[0], latent_width=SIZE[1], latent_channels=16
    )
    return replace(
        embedded, config=replace(embedded.config, network=network), vae=LayerVAE(vae.bfloat16())
    )


def count_all(model, mode, frames):
    """Every stretch of every tile."""
    vae = set_mode(model.vae.vae, mode, SIZE)
    shape = (1, 16, frames, *SIZE)
    return count_peak(
        Decoder(vae), lambda decoder: decoder(torch.zeros(shape, dtype=vae.dtype)), CPU
    )


@pytest.mark.parametrize("mode", VAE_MODES, ids=lambda mode: mode.name)
def test_one_tile_and_two_stretches_tell_what_all_take(wide_model, mode):
    layout = wide_model.config.layout
    frames = max(span.stop - span.start for span in layout.vae_spans)
    every = count_all(wide_model, mode, frames) - WORKSPACE
    found = vae_peak(wide_model, layout, mode, CPU) - WORKSPACE
    assert every <= found < 1.15 * every


def test_models_of_one_shape_are_counted_once(quick_model, monkeypatch):
    counted = []
    monkeypatch.setattr(peaks, "count_peak", lambda *inputs: counted.append(inputs) or 1)
    monkeypatch.setattr(peaks, "_counted", {})
    layout = quick_model.config.layout
    quicker = with_approximations(with_compute(quick_model, ComputeOptions("sdpa"), CPU), 0.1)
    for model in (quick_model, quicker, with_compute(quicker, ComputeOptions("sdpa"), CPU)):
        vae_peak(model, layout, ON_CPU, CPU)
    assert len(counted) == 1
    for model in (quicker, replace(quicker, network=share_weights(quicker.network))):
        network_peak(model, 1, CPU)
    assert len(counted) == 2
    network_peak(quicker, 2, CPU)
    network_peak(with_compute(quicker, ComputeOptions("chunked"), CPU), 1, CPU)
    halves = copy.deepcopy(quicker.network).to(torch.bfloat16)
    network_peak(replace(quicker, network=halves), 1, CPU)
    assert len(counted) == 5
