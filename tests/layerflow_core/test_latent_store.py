from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import OutOfMemoryError
from layerflow_core.latent_store import LatentStore, name_run
from layerflow_core.model.lora_file import with_network
from layerflow_core.model.vae import LayerVAE
from layerflow_core.pipeline import Host, Run, SilentObserver, make_layers
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene, render

SCENE = draw_scene(11, held_out=True)
RUN = Run(SCENE.prompts, {"blended": render(SCENE).blended}, SamplerSettings(1, "constant", 1.0), 4)


class Counter(SilentObserver):
    def __init__(self):
        self.steps = 0

    def step(self, done, total, preview):
        self.steps += 1


def key_of(model, run):
    return name_run(model, model.config.layout, run.prompts, run.given, run.settings, run.seed, run.window)


def test_a_failed_decode_costs_no_sampling(embedded, tmp_path, monkeypatch):
    host = Host(Counter(), latents=LatentStore(tmp_path / "latents"))
    expected = make_layers(embedded, RUN)
    with monkeypatch.context() as broken, pytest.raises(OutOfMemoryError):
        broken.setattr(LayerVAE, "decode", lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("CUDA out of memory")))
        make_layers(embedded, RUN, host)
    assert host.observer.steps == 1 and len(list((tmp_path / "latents").iterdir())) == 1
    again = make_layers(embedded, RUN, host)
    assert host.observer.steps == 1, "it was not sampled again"
    assert all(torch.equal(a, b) for a, b in zip(again.clips().values(), expected.clips().values()))
    assert not (tmp_path / "latents").exists(), "what is decoded is forgotten"
    make_layers(embedded, RUN, host)
    assert host.observer.steps == 2


def test_every_difference_is_another_run(embedded):
    blended = RUN.given["blended"].clone()
    blended[0, 0, 0, 0] += 0.01
    others = [replace(RUN, **change) for change in ({"seed": 5}, {"window": 1}, {"prompts": {}}, {"given": {}}, {"given": {"blended": blended}},
                                                   {"settings": SamplerSettings(2, "constant", 1.0)})]  # fmt: skip
    keys = {key_of(embedded, run) for run in (RUN, *others)}
    keys |= {key_of(with_network(embedded, embedded.network, 0.5), RUN), key_of(replace(embedded, strengths={"content": 0.5}), RUN)}
    assert len(keys) == 9
    assert key_of(embedded, replace(RUN, given={"blended": RUN.given["blended"].clone()})) in keys


def test_a_model_from_memory_has_no_name(embedded):
    assert key_of(replace(embedded, origin=()), RUN) == ""


def test_a_damaged_file_is_as_good_as_none(tmp_path):
    store = LatentStore(tmp_path)
    store.keep("a", torch.ones(3))
    assert torch.equal(store.find("a"), torch.ones(3))
    (tmp_path / "a.safetensors").write_bytes(b"half")
    assert store.find("a") is None and store.find("b") is None
