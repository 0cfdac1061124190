"""The shipped model does its job; the full figures are in ``layerflow_core/toy/README.md``."""

import json

import pytest

from layerflow_core import cli
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.weights.checkpoint import read_checkpoint

RECORDED = json.loads(EMBEDDED.with_name("figures.json").read_text())


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Of eight scenes that the recorded ones do not have."""
    path = tmp_path_factory.mktemp("figures") / "figures.json"
    assert (
        cli.main(
            [
                "evaluate",
                "--toy",
                "--seed",
                "5",
                "--scenes",
                "8",
                "--steps",
                "12",
                "--json",
                str(path),
            ]
        )
        == 0
    )
    return json.loads(path.read_text())


def test_size():
    assert EMBEDDED.stat().st_size <= 16 * 2**20


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


def test_the_rules_are_right_on_true_clips():
    assert all(
        RECORDED["truth"][name] >= 0.98 for name in ("color", "background", "shape", "motion")
    )


def test_recorded_figures():
    """Those that the page of the embedded model shows."""
    apart, made, trivial = RECORDED["decompose"], RECORDED["generate"], RECORDED["trivial"]
    assert RECORDED["scenes"] >= 24
    assert (
        apart["alpha_mae"] <= 0.75 * trivial["empty_alpha_mae"]
        and apart["alpha_iou"] >= 2 * trivial["other_alpha_iou"]
    )
    assert apart["background_psnr"] >= trivial["blend_as_background_psnr"] + 4
    assert made["color"] >= 0.75 and made["background"] >= 0.9


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "say --toy"),
        (["--toy", "--scenes", "1"], "expected"),
        (["--toy", "--seed", "-1"], "expected"),
    ],
)
def test_bad_requests_are_refused(capsys, arguments, message):
    assert cli.main(["evaluate", *arguments]) == 1 and message in capsys.readouterr().err
