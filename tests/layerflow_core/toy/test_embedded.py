"""The shipped model does its job; the full figures are in ``layerflow_core/toy/README.md``."""

import json

import pytest

from layerflow_core.model.checkpoint import read_checkpoint
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.toy.evaluation import evaluate

SCENES = 4


@pytest.fixture(scope="module")
def figures(embedded):
    return evaluate(embedded, SCENES)


def test_size():
    assert EMBEDDED.stat().st_size <= 16 * 2**20


def test_nothing_but_the_file_is_needed(embedded):
    config = read_checkpoint(EMBEDDED).config
    assert config.unified and config.vae and config.text_encoder and config.preview
    assert embedded.frame_size == (64, 96)


def test_decomposition_beats_trivial_answers(figures):
    assert figures.alpha_mae["model"] <= 0.75 * figures.alpha_mae["empty alpha"]
    assert figures.alpha_iou["model"] >= 2 * figures.alpha_iou["another scene's alpha"]
    assert figures.hidden_background_psnr["model"] >= figures.hidden_background_psnr["the blend"] + 3


def test_generation_follows_the_prompts(figures):
    assert figures.colour_accuracy["model"] >= 0.5 and figures.background_accuracy["model"] >= 0.75
    assert figures.recomposition_psnr["model"] > figures.recomposition_psnr["another clip's blend"]


def test_recorded_figures():
    """Those that the page of the embedded model shows; colours are not yet where they shall be (0.75)."""
    recorded = json.loads(EMBEDDED.with_name("figures.json").read_text())
    assert recorded["scenes"] >= 12
    assert recorded["alpha_mae"]["model"] <= 0.75 * recorded["alpha_mae"]["empty alpha"]
    assert recorded["alpha_iou"]["model"] >= 2 * recorded["alpha_iou"]["another scene's alpha"]
    assert recorded["colour_accuracy"]["model"] >= 0.65 and recorded["background_accuracy"]["model"] >= 0.9
