import math
import os
from pathlib import Path

import pytest
import torch

from layerflow_core.errors import SamplingError, VideoFileError
from layerflow_core.layer_files.saving import SaveOptions, save_layers
from layerflow_core.layers import Foreground, LayerVideo
from layerflow_core.options import (
    check_output_file,
    check_output_folder,
    read_device,
    read_lora_pair,
)


def test_auto_is_a_card_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert read_device("auto") == read_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:4096", "meta", "\0"])
def test_a_device_that_is_not_here_is_named(name):
    with pytest.raises(SamplingError, match="got the device .*, expected auto, cpu, or one"):
        read_device(name)


@pytest.mark.parametrize("strength", ["1", "-0.5", "1e-3", "0"])
def test_strengths_are_numbers(strength):
    assert read_lora_pair("a.safetensors", strength) == (Path("a.safetensors"), float(strength))


@pytest.mark.parametrize("strength", ["", "full", "nan", "inf", "-inf", "1,5"])
def test_others_are_refused_with_the_file_s_name(strength):
    with pytest.raises(SamplingError, match="--lora a.safetensors: got the strength"):
        read_lora_pair("a.safetensors", strength)
    assert not math.isfinite(float("nan"))


def test_a_file_that_is_read_is_no_target_by_whatever_way_it_is_named(tmp_path):
    source = tmp_path / "a.mov"
    source.write_bytes(b"x")
    link = tmp_path / "link.mov"
    link.symlink_to(source)
    for target in (source, link, tmp_path / "below" / ".." / "a.mov"):
        with pytest.raises(VideoFileError, match="is read and would be written over"):
            check_output_file(target, [tmp_path / "other.mov", source])
    check_output_file(tmp_path / "b.mov", [source])
    assert sorted(os.listdir(tmp_path)) == ["a.mov", "link.mov"]


def test_a_set_that_is_read_is_not_replaced(tmp_path):
    colour = torch.rand(1, 3, 8, 8)
    layers = LayerVideo((Foreground("foreground", colour, colour[:, :1]),), None, None, 8.0)
    save_layers(tmp_path / "set", layers, SaveOptions("PNG 8 bit"))
    inside = tmp_path / "set" / "foreground" / "00000.png"
    with pytest.raises(VideoFileError, match="choose another folder"):
        check_output_folder(tmp_path / "set", [inside])
    check_output_folder(tmp_path / "new", [inside])
    assert not (tmp_path / "new").exists()
