import torch

from layerflow_core.toy import export
from layerflow_core.toy.vae_training import model_clips
from layerflow_core.toy.world import draw_scenes, render


def test_a_preview_tells_a_latent_s_colour_better_than_the_mean_does(embedded, monkeypatch):
    monkeypatch.setattr(export, "_PREVIEW_SCENES", 2)
    config = embedded.config
    vae = embedded.require_vae().vae

    table = torch.tensor(export.fit_preview(vae, config))
    channels = config.network.latent_channels
    assert table.shape == (channels + 1, 3)

    with torch.inference_mode():
        (scene,) = draw_scenes(1, 3 * 10**8, held_out=False)
        pixels = torch.stack(model_clips(render(scene))).transpose(1, 2)
        latents = vae.encode(pixels).latent_dist.mean
    mean = torch.tensor(config.vae["latents_mean"]).view(1, -1, 1, 1, 1)
    std = torch.tensor(config.vae["latents_std"]).view(1, -1, 1, 1, 1)
    normalised = ((latents - mean) / std).movedim(1, -1)
    shown = normalised @ table[:-1] + table[-1]
    true = torch.nn.functional.adaptive_avg_pool3d(pixels * 0.5 + 0.5, latents.shape[2:])
    true = true.movedim(1, -1)
    spread = (true - true.mean((0, 1, 2, 3))).square().mean()
    assert (shown - true).square().mean() < spread / 2
