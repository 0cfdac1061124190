import random

import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.errors import DatasetError
from layerflow_core.rgba import to_model
from layerflow_core.sampling.noise import POSTERIOR, NoiseSource
from layerflow_core.toy.world import draw_scene, render
from layerflow_core.training.data import cache as cache_module
from layerflow_core.training.data.cache import LatentCache, build_cache, pick_frozen, pick_moving
from layerflow_core.training.data.clip_folder import LayerClip
from layerflow_core.weights.tensor_file import read_tensors


class Scenes:
    """Procedural clips as a source; counts how often one is asked for."""

    def __init__(self, count, name="scenes"):
        self.count, self.name, self.asked = count, name, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        scene = draw_scene(index)
        return LayerClip(f"scene {index}", vars(render(scene)), scene.prompts)

    def fingerprint(self):
        return f"{self.name}:{self.count}"


def test_a_cache_holds_what_the_vae_and_the_text_encoder_say(tmp_path, quick_model):
    clips = build_cache(Scenes(1), "moving", quick_model, tmp_path)
    scene, layout = draw_scene(0), quick_model.config.layout
    pixels = to_model(vars(render(scene)), layout)
    generator = NoiseSource(4).generator(POSTERIOR)
    drawn = quick_model.vae.encode(pixels, layout, generator)[0]
    standard = (drawn - clips[0].mean.float()) / clips[0].std.float()
    assert abs(float(standard.mean())) < 0.02 and float(standard.std()) == pytest.approx(
        1, abs=0.02
    )
    expected = quick_model.text.encode_layers(scene.prompts, layout)[0]
    assert torch.allclose(clips[0].context.float().flatten(0, 1), expected, atol=0.02)
    assert not torch.equal(
        clips[0].draw(torch.Generator().manual_seed(0)),
        clips[0].draw(torch.Generator().manual_seed(1)),
    )


def test_finished_shards_are_not_made_again_and_changed_inputs_are(
    tmp_path, quick_model, monkeypatch
):
    monkeypatch.setattr(cache_module, "SHARD", 2)
    source = Scenes(3)
    first = build_cache(source, "frozen", quick_model, tmp_path)
    assert source.asked == [0, 1, 2] and len(list(first.folder.iterdir())) == 2
    second_shard = first.folder / "00001.safetensors"
    second_shard.unlink()  # as if stopped before it
    again = build_cache(source, "frozen", quick_model, tmp_path)
    assert source.asked == [0, 1, 2, 2] and torch.equal(again[2].mean, first[2].mean)
    other = build_cache(Scenes(1, "others"), "frozen", quick_model, tmp_path)
    assert other.folder != first.folder


def test_frozen_clips_stand_still(tmp_path, embedded):
    frozen = build_cache(Scenes(1), "frozen", embedded, tmp_path, variants=2)
    assert len(frozen) == 2
    layout = embedded.config.layout
    decoded = embedded.vae.decode(frozen[0].mean.float()[None], layout)["blended"]
    assert float((decoded[1:] - decoded[:-1]).abs().mean()) < 0.02


def test_picks_stay_within_the_clip():
    moving = pick_moving(40, 16, random.Random(1))
    assert moving == list(range(moving[0], moving[0] + 16)) and moving[-1] < 40
    assert pick_moving(3, 5, random.Random(1)) == [0, 1, 2, 2, 2]
    assert len(set(pick_frozen(9, 16, random.Random(1)))) == 1


def test_a_clip_without_a_layer_stops_the_cache_and_is_named(tmp_path, quick_model):
    class Broken(Scenes):
        def __getitem__(self, index):
            clip = super().__getitem__(index)
            return LayerClip(
                clip.name, {k: v for k, v in clip.layers.items() if k != "alpha"}, clip.prompts
            )

    with pytest.raises(DatasetError, match="scene 0: layer alpha is missing"):
        build_cache(Broken(1), "moving", quick_model, tmp_path)
    with pytest.raises(DatasetError, match="unknown treatment"):
        build_cache(Scenes(1), "slow", quick_model, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("texts", [None, "[[", "[[7]]", '[["nowhere"]]', "[]"])
def test_a_damaged_shard_is_named(tmp_path, quick_model, texts):
    clips = build_cache(Scenes(1), "frozen", quick_model, tmp_path)
    (shard,) = clips.folder.iterdir()
    tensors, _ = read_tensors(shard)
    save_file(tensors, shard, None if texts is None else {"texts": texts})
    with pytest.raises(DatasetError, match="00000.safetensors"):
        LatentCache(clips.folder, 1)[0]
