"""Rows of arguments mean the same for every command that takes them, and what the core would choose by itself."""

import argparse
from dataclasses import fields

import pytest

from layerflow_core import arguments
from layerflow_core.layer_files.saving import SaveOptions
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.video.frame_selection import FrameSelection


def parse(rows: tuple, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    for names, options in rows:
        parser.add_argument(*names, **options)
    return parser.parse_args(words)


def test_without_words_frames_are_read_as_without_a_selection():
    read = vars(parse(arguments.READING))
    assert FrameSelection(**read) == FrameSelection()
    assert set(read) == {field.name for field in fields(FrameSelection)}


def test_without_words_layers_are_saved_as_the_node_saves_them():
    read = parse(arguments.SAVING)
    chosen = SaveOptions(read.format, read.opaque, read.alpha_kind, read.frame)
    assert chosen == SaveOptions()


def test_every_field_of_the_sampler_has_a_word_and_none_a_default():
    read = vars(parse(arguments.MODEL))
    for field in fields(SamplerSettings):
        assert read[field.name] is None, "the checkpoint's own value would never be used"
    assert read["model"] == EMBEDDED


def test_what_a_table_does_not_have_is_refused():
    for words in (["--solver", "euler"], ["--guidance", "none"], ["--attention", "fast"]):
        with pytest.raises(argparse.ArgumentError, match="invalid choice"):
            parse(arguments.MODEL, *words)


def test_a_lora_may_be_given_again():
    read = parse(arguments.MODEL, "--lora", "a", "1", "--lora", "b", "0.5")
    assert read.lora == [["a", "1"], ["b", "0.5"]]
    assert parse(arguments.MODEL).lora == []


def test_there_is_a_prompt_for_each_layer_and_none_is_needed():
    assert vars(parse(arguments.PROMPTS)) == {"foreground": "", "background": "", "blended": ""}


def test_an_output_folder_has_the_default_that_its_help_names():
    names, options = arguments.out_folder("layers")
    assert str(options["default"]) == "layers" and "layers" in options["help"]
    assert names == ("--out",)
