import json

import pytest

from layerflow_core.errors import CheckpointError
from layerflow_core.model.text import build_t5
from layerflow_core.model.vae import build_vae
from layerflow_core.weights.component_config import (
    LARGEST_CONFIG,
    read_config_file,
    t5_fields,
    vae_fields,
)

BLOCKS = {
    "down_block_types": ["CogVideoXDownBlock3D"] * 2,
    "up_block_types": ["CogVideoXUpBlock3D"] * 2,
    "block_out_channels": [8, 8],
    "norm_num_groups": 4,
}


def test_defaults_are_those_of_the_libraries():
    from transformers import T5Config

    fields = t5_fields({"d_model": 512}, "a config")
    defaults = T5Config()
    for name in ("vocab_size", "d_kv", "d_ff", "num_layers", "num_heads", "dropout_rate"):
        assert fields[name] == getattr(defaults, name), name


def test_what_nobody_knows_is_not_passed_on():
    strange = {"d_model": 16, "_name_or_path": "/etc", "auto_map": {"AutoModel": "evil.Model"}}
    assert not {"_name_or_path", "auto_map"} & set(t5_fields(strange, "a config"))
    assert "trust_remote_code" not in vae_fields({**BLOCKS, "trust_remote_code": True}, "a config")


def test_checked_fields_build_the_parts_they_speak_of():
    small = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    assert build_t5(t5_fields({**small, "vocab_size": 20}, "a config")).config.d_model == 16
    assert len(build_vae(vae_fields(BLOCKS, "a config")).encoder.down_blocks) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": 0},
        {"d_model": "wide"},
        {"d_model": 10**9},
        {"num_layers": 10**6},
        {"layer_norm_epsilon": float("nan")},
        {"feed_forward_proj": "exec"},
        {"dropout_rate": 2.0},
    ],
    ids=str,
)
def test_a_text_encoder_out_of_bounds_is_refused(change):
    with pytest.raises(CheckpointError, match="a config"):
        t5_fields({"d_model": 16, **change}, "a config")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"up_block_types": ["CogVideoXUpBlock3D"]}, "different numbers of blocks"),
        ({"block_out_channels": [8, 10]}, "got 10 channels in 4 groups"),
        ({"latents_mean": [0.0, 0.0]}, "got 2 values in latents_mean, expected 16"),
        ({"latents_std": [0.0] * 16}, "a config"),
        ({"down_block_types": ["Other"] * 2}, "a config"),
        ({"scaling_factor": 0}, "a config"),
    ],
)
def test_a_vae_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        vae_fields({**BLOCKS, **change}, "a config")


def test_a_folder_s_config_is_read_where_there_is_one(tmp_path):
    assert read_config_file(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 16}))
    assert read_config_file(tmp_path) == {"d_model": 16}


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', " " * (LARGEST_CONFIG + 1)], ids=len)
def test_what_is_no_config_is_a_typed_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config.json"):
        read_config_file(tmp_path)
