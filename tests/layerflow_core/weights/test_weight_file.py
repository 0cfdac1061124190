import json

import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.errors import CheckpointError
from layerflow_core.weights.weight_file import open_weights

TENSORS = {"a.weight": torch.rand(2, 3), "b.weight": torch.rand(4), "c.weight": torch.rand(1)}


def assert_whole(source) -> None:
    assert {key: tuple(spec.shape) for key, spec in source.specs.items()} == {
        key: tuple(value.shape) for key, value in TENSORS.items()
    }
    read = source.read(list(TENSORS))
    assert all(torch.equal(read[key], value) for key, value in TENSORS.items())


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".bin", ".ckpt", ""])
@pytest.mark.parametrize("save", [save_file, torch.save], ids=["safetensors", "torch"])
def test_a_file_is_opened_as_what_it_is(tmp_path, save, ending):
    save(TENSORS, tmp_path / f"model{ending}")
    assert_whole(open_weights(tmp_path / f"model{ending}"))


def write_shards(folder) -> None:
    names = {}
    for number, (key, value) in enumerate(TENSORS.items()):
        names[key] = f"model-0000{number}.safetensors"
        save_file({key: value}, folder / names[key])
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names, "metadata": {"total_size": 1}}))


def test_shards_are_one_source(tmp_path):
    write_shards(tmp_path)
    source = open_weights(tmp_path)
    assert_whole(source)
    assert list(source.read(["b.weight"])) == ["b.weight"]


def test_a_folder_s_whole_file_goes_before_others(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    save_file({"other": torch.rand(1)}, tmp_path / "adapter.safetensors")
    assert_whole(open_weights(tmp_path))


def test_a_shard_that_is_missing_is_an_incomplete_download(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "model-00001.safetensors").unlink()
    with pytest.raises(CheckpointError, match="lacks 1 of the 3 files.*start it again"):
        open_weights(tmp_path)


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "a.pt", "a\\b.safetensors"])
def test_an_index_leads_nowhere_else(tmp_path, name):
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="expected .safetensors files beside it"):
        open_weights(tmp_path)


def test_an_empty_folder_and_another_file_say_what_is_expected(tmp_path):
    with pytest.raises(CheckpointError, match="holds no .safetensors file"):
        open_weights(tmp_path)
    (tmp_path / "page.safetensors").write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(CheckpointError, match="a web page"):
        open_weights(tmp_path / "page.safetensors")
