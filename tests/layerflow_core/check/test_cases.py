import torch

from layerflow_core.check.cases import PROMPTS, Bench
from layerflow_core.layout import find_layout

from .small_size import make_small


def test_models_are_made_once_and_when_asked_for(monkeypatch):
    make_small(monkeypatch)
    bench = Bench(torch.device("cpu"))
    assert bench.dtype == torch.float32 and "true_model" not in vars(bench)
    assert bench.true_model is bench.true_model
    assert bench.true_transformer.network is bench.true_model.network
    assert bench.true_transformer.vae is None


def test_there_is_a_prompt_for_every_text():
    assert set(PROMPTS) == set(find_layout("gen_rgba").texts)
