"""Which file is taken, by what is known of it; the parts themselves are stand-ins with a config alone."""

import re
from dataclasses import replace

import pytest

from layerflow_core.config import NetworkConfig
from layerflow_core.errors import CheckpointError, MissingPartError
from layerflow_core.weights.component_choice import TEXT_ENCODER, VAE, choose_part, warn_of_choice
from layerflow_core.weights.component_config import t5_fields, vae_fields
from layerflow_core.weights.components import Part
from layerflow_core.weights.tensor_file import MemorySource

NETWORK = replace(
    NetworkConfig(2, 16, 2, 16, 8, 4, 4, 6, 2), text_embed_dim=4096, latent_channels=16
)
XXL = t5_fields(
    {
        "d_model": 4096,
        "vocab_size": 32128,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
    "T5",
)
OF_2B = vae_fields({}, "VAE")


@pytest.fixture
def choose(tmp_path):
    """(kind, {name: config, or None for a damaged file}) -> the name that is chosen."""

    def run(kind, configs):
        def read(path):
            config = configs[path.name]
            if config is None:
                raise CheckpointError("damaged")
            return Part(config, MemorySource({}))

        for name in configs:
            (tmp_path / name).write_bytes(b"")
        candidates = {name: tmp_path / name for name in configs}
        return choose_part(replace(kind, read=read), candidates, NETWORK)

    return run


def test_of_the_same_model_the_more_exact_file_is_taken(choose):
    names = ["t5xxl_fp8_e4m3fn.safetensors", "t5xxl_fp8_scaled.safetensors", "t5xxl.safetensors"]
    found = []
    while names:
        found.append(choose(TEXT_ENCODER, dict.fromkeys(names, XXL)))
        names.remove(found[-1])
    assert found[0] == "t5xxl.safetensors"
    assert choose(TEXT_ENCODER, {"t5xxl_fp8.pt": XXL, "t5xxl_fp16.pt": XXL}) == "t5xxl_fp16.pt"


@pytest.mark.parametrize("name", ["flan-t5-xxl.safetensors", "umt5_xxl.safetensors"])
def test_another_model_of_the_same_shapes_is_told_by_its_name(choose, name):
    with pytest.raises(MissingPartError, match=f"{re.escape(name)}: named like another model"):
        choose(TEXT_ENCODER, {name: XXL})
    assert choose(TEXT_ENCODER, {name: XXL, "t5xxl.pt": XXL}) == "t5xxl.pt"


def test_shapes_go_before_names(choose):
    with pytest.raises(MissingPartError, match="d_model 768, expected 4096"):
        choose(TEXT_ENCODER, {"t5xxl.safetensors": {**XXL, "d_model": 768}})
    with pytest.raises(MissingPartError, match="scaling_factor 0.7"):
        choose(VAE, {"cogvideox_2b_vae.safetensors": {**OF_2B, "scaling_factor": 0.7}})


def test_what_is_in_doubt_is_named_and_not_taken(choose):
    with pytest.raises(MissingPartError, match="these could be one: encoder.safetensors"):
        choose(TEXT_ENCODER, {"encoder.safetensors": XXL})


def test_a_damaged_file_does_not_hide_a_sound_one(choose):
    assert choose(TEXT_ENCODER, {"t5xxl_fp16.pt": None, "t5xxl_fp8.pt": XXL}) == "t5xxl_fp8.pt"


def test_with_nothing_there_it_is_said_where_to_get_it(choose):
    for kind in (TEXT_ENCODER, VAE):
        with pytest.raises(MissingPartError, match=f"none in models/{kind.folder}"):
            choose(kind, {})


def test_a_choice_of_somebody_s_own_is_taken_with_a_warning(tmp_path, caplog):
    path = tmp_path / "flan.safetensors"
    kind = replace(TEXT_ENCODER, read=lambda path: Part(XXL, MemorySource({})))
    warn_of_choice(kind, "flan-t5-xxl.safetensors", path, NETWORK)
    assert "named like another model of the same shapes" in caplog.text
    caplog.clear()
    warn_of_choice(kind, "t5xxl.safetensors", path, NETWORK)
    assert not caplog.records
