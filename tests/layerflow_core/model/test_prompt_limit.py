import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from layerflow_core.config import NetworkConfig
from layerflow_core.errors import CheckpointError
from layerflow_core.model.prompt_limit import OFFICIAL, read_prompt_limit
from layerflow_core.model.text import count_tokens, read_tokenizer_data
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.weights.checkpoint import CONFIG_KEY, TOKENIZER_KEY, encode_bytes
from layerflow_core.weights.tensor_file import SafetensorsFile


def test_the_embedded_model_s_limit_and_tokenizer_are_those_it_runs_with(embedded):
    limit = read_prompt_limit(EMBEDDED)
    assert limit.tokens == embedded.text.tokens == embedded.config.network.tokens_per_text
    tokenizer = read_tokenizer_data(limit.tokenizer)
    for text in ("", "0, a blue solid circle moving right", "1, a dog " * 30):
        assert count_tokens(tokenizer, text) == embedded.text.count_tokens(text)


def test_no_weight_is_read(monkeypatch):
    read = []
    original = SafetensorsFile.read
    monkeypatch.setattr(
        SafetensorsFile, "read", lambda self, keys: read.extend(keys) or original(self, keys)
    )
    read_prompt_limit(EMBEDDED)
    assert read == [TOKENIZER_KEY]


def write(path, config, tensors=None, **metadata):
    save_file(tensors or {"a": torch.zeros(1)}, path, {CONFIG_KEY: config, **metadata})
    return path


def test_a_checkpoint_without_a_text_encoder_says_its_limit_alone(embedded, tmp_path):
    network = replace(embedded.config.network, tokens_per_text=77)
    config = replace(embedded.config, network=network, text_encoder=None)
    limit = read_prompt_limit(write(tmp_path / "a.safetensors", config.to_json()))
    assert limit.tokens == 77
    assert limit.tokenizer is None


def test_released_files_are_read_as_the_official_code_does(tmp_path):
    torch.save({"module": {"a": torch.zeros(1)}}, tmp_path / "a.pt")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        assert read_prompt_limit(tmp_path / name) == OFFICIAL
    assert OFFICIAL.tokens == NetworkConfig().tokens_per_text
    assert OFFICIAL.tokenizer is None


def test_damaged_files_are_named(embedded, tmp_path):
    config = embedded.config.to_json()
    large = torch.zeros(17 * 1024**2, dtype=torch.uint8)
    broken = {
        "large": write(tmp_path / "large.safetensors", config, {TOKENIZER_KEY: large}),
        "config": write(tmp_path / "config.safetensors", json.dumps({"format": 1})),
        "missing": tmp_path / "missing.safetensors",
        "short": tmp_path / "short.safetensors",
        "floats": write(tmp_path / "floats.safetensors", config, {TOKENIZER_KEY: torch.zeros(4)}),
    }
    broken["short"].write_bytes(EMBEDDED.read_bytes()[:5000])
    for path in broken.values():
        with pytest.raises(CheckpointError):
            read_prompt_limit(path)


def test_a_tokenizer_s_bytes_come_back(embedded, tmp_path):
    tensors = {TOKENIZER_KEY: encode_bytes(b'{"model": {}}')}
    path = write(tmp_path / "a.safetensors", embedded.config.to_json(), tensors)
    assert read_prompt_limit(path).tokenizer == b'{"model": {}}'
