"""What commands do before and after the work; whole commands are run in ``test_cli``."""

import argparse
import builtins

import pytest
import torch

from layerflow_core import commands
from layerflow_core.cli import build_parser
from layerflow_core.commands import BarObserver, composite, convert, evaluate_any
from layerflow_core.errors import EvaluationError, VideoFileError
from layerflow_core.video.streams.encodings import write_h264


def options_of(*words) -> argparse.Namespace:
    return build_parser().parse_args([str(word) for word in words])


def test_the_bar_ends_with_the_last_step(capsys):
    bar = BarObserver()
    bar.stage("encode")
    for done in (1, 2, 3):
        bar.step(done, 3, lambda: pytest.fail("nobody looks at previews"))
    shown = capsys.readouterr().err
    assert "3/3" in shown and shown.endswith("\n")


def test_a_composite_without_any_alpha_asks_for_a_matte(tmp_path):
    for name in ("front.mp4", "back.mp4"):
        write_h264(tmp_path / name, torch.rand(2, 3, 16, 16), 8)
    words = ["composite", tmp_path / "front.mp4", tmp_path / "back.mp4"]
    with pytest.raises(VideoFileError, match="has no alpha.*--alpha"):
        composite(options_of(*words, "--out", tmp_path / "out.mp4"))
    assert not (tmp_path / "out.mp4").exists()


def test_the_way_out_is_checked_before_anything_is_read(tmp_path):
    for words in (
        ["composite", tmp_path / "none.mov", tmp_path / "none.mp4", "--out", tmp_path / "x.gif"],
        ["convert", tmp_path / "none.pt", tmp_path / "none.pt"],
    ):
        options = options_of(*words)
        with pytest.raises(VideoFileError, match="expected one of|written over"):
            {"composite": composite, "convert": convert}[options.command](options)


def test_results_or_the_procedural_world_are_evaluated_and_not_both(tmp_path):
    with pytest.raises(EvaluationError, match="got folders and --toy"):
        evaluate_any(options_of("evaluate", tmp_path, "--toy"))
    with pytest.raises(EvaluationError, match="got no folder"):
        evaluate_any(options_of("evaluate", "--out", tmp_path))


def test_parts_that_are_named_go_before_those_of_a_folder(tmp_path):
    for part in ("text_encoder", "tokenizer", "vae"):
        (tmp_path / "base" / part).mkdir(parents=True)
    words = ["generate", "--base", tmp_path / "base", "--vae", tmp_path / "other.pt"]
    base = commands._base(options_of(*words))
    assert base.vae == tmp_path / "other.pt"
    assert base.text_encoder == tmp_path / "base" / "text_encoder"


def test_a_full_disk_is_an_error_of_ours_and_a_closed_pipe_is_not(monkeypatch):
    for raised, expected in ((OSError(28, "No space"), VideoFileError), (BrokenPipeError(),) * 2):

        def fail(*_, error=raised, **__):
            raise error

        expected = expected if isinstance(expected, type) else BrokenPipeError
        monkeypatch.setattr(builtins, "print", fail)
        with pytest.raises(expected):
            commands._say("done")
