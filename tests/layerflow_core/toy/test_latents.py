from dataclasses import replace

import torch

from layerflow_core.toy.clips import COARSE, EXACT
from layerflow_core.toy.latents import SETS, LatentSet, encode_scenes
from layerflow_core.toy.vae_training import build_world_vae


def test_latent_sets_survive_the_disk(tmp_path):
    latents = torch.randn(2, 4, 1, 8, 3, 4).half()
    LatentSet(latents, [["a", "b", "c"]] * 2, torch.zeros(8), torch.ones(8)).save(
        tmp_path / "x.safetensors"
    )
    back = LatentSet.load(tmp_path / "x.safetensors")
    assert torch.equal(back.latents, latents) and back.prompts == [["a", "b", "c"]] * 2
    assert torch.equal(back.normalised(), latents)


def test_every_set_shows_what_its_row_says():
    vae = build_world_vae().eval()
    for name, footage in SETS.items():
        latents = encode_scenes(
            vae, footage, range(footage.first_seed, footage.first_seed + 2)
        ).latents
        assert latents.shape == (
            2,
            4,
            4 if footage.moving else 1,
            8,
            16 // footage.shrink,
            24 // footage.shrink,
        ), name


def test_coarse_scenes_have_the_same_words_and_other_layers():
    vae = build_world_vae().eval()
    coarse = SETS["coarse_stills"]
    assert coarse.quality == COARSE
    sets = (
        encode_scenes(vae, footage, range(coarse.first_seed, coarse.first_seed + 1))
        for footage in (coarse, replace(coarse, quality=EXACT))
    )
    a, b = sets
    assert a.prompts == b.prompts and not torch.allclose(a.latents, b.latents, atol=1e-2)
