"""The shipped model does its job; the full figures are in ``layerflow_core/toy/README.md``."""

import json

import pytest

from layerflow_core import cli
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.weights.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Of a few scenes that the recorded ones do not have."""
    path = tmp_path_factory.mktemp("figures") / "figures.json"
    size = ["--seed", "5", "--scenes", "4", "--steps", "8"]
    assert cli.main(["evaluate", "--toy", *size, "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_nothing_but_the_file_is_needed(embedded):
    config = read_checkpoint(EMBEDDED).config
    assert config.unified and config.vae and config.text_encoder and config.preview
    assert embedded.frame_size == (64, 96)


def test_decomposition_beats_trivial_answers(figures):
    apart, trivial = figures["decompose"], figures["trivial"]
    assert apart["alpha_mae"] <= 0.75 * trivial["empty_alpha_mae"]
    assert apart["alpha_iou"] >= 2 * trivial["other_alpha_iou"]
    assert apart["background_psnr"] >= trivial["blend_as_background_psnr"] + 4


def test_generation_follows_the_prompts(figures):
    made = figures["generate"]
    assert made["color"] >= 0.5 and made["background"] >= 0.75
    assert made["composite_mae"] < figures["trivial"]["other_blend_composite_mae"] / 2


def test_the_rules_are_right_on_true_clips(figures):
    for name in ("color", "background", "shape", "motion"):
        assert figures["truth"][name] >= 0.98, name


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "or --toy for the embedded model"),
        (["--toy", "--scenes", "1"], "expected"),
        (["--toy", "--seed", "-1"], "expected"),
    ],
)
def test_bad_requests_are_refused(capsys, arguments, message):
    assert cli.main(["evaluate", *arguments]) == 1 and message in capsys.readouterr().err
