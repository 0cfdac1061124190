import json

import pytest
import torch
from safetensors.torch import load_file

from layerflow_core.errors import CheckpointError
from layerflow_core.model.loading import build_network, network_tensors
from layerflow_core.official.keys import (
    PREFIX,
    from_official,
    network_keys,
    official_chunks,
    to_official,
)
from layerflow_core.official.variants import read_config
from layerflow_core.official.verification import GOLDEN
from layerflow_core.weights.tensor_file import MemorySource

VARIANTS = ("gen_rgba", "seg_rgb", "fg2bg_rgba")


def official(variant):
    raw = load_file(GOLDEN / f"{variant}.ckpt.safetensors")
    network = json.loads((GOLDEN / f"{variant}.json").read_text())["network"]
    tensors = {key: raw[theirs] for key, theirs in network_keys(raw).items()}
    return (
        raw,
        tensors,
        read_config(tensors, variant, (network["latent_height"], network["latent_width"])),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_directions(variant):
    raw, tensors, config = official(variant)
    ours = from_official(tensors, config)
    back = to_official(network_tensors(build_network(config, ours)), config)
    used = config.sequence_length
    table = PREFIX + "mixins.pos_embed.pos_embedding"
    raw[table] = raw[table][:, :used]
    assert back.keys() == raw.keys()
    assert all(torch.equal(back[key], raw[key]) for key in raw)


def test_plain_keys_mean_no_lora():
    _, tensors, config = official("seg_rgb")
    plain = {k.replace(".original.", "."): v for k, v in tensors.items() if ".matrix_" not in k}
    config = read_config(plain, "seg_rgb", (6, 8))
    assert (config.network.content_rank, config.network.motion_rank) == (0, 0)
    ours = from_official(plain, config)
    assert not any(k.startswith(("content", "motion")) for k in ours)
    assert network_keys(to_official(ours, config)).keys() == plain.keys()


def test_one_plain_module_among_adapted_ones_stays_without_lora(inputs_for):
    _, tensors, config = official("seg_rgb")
    name = "transformer.layers.1.attention.dense"
    mixed = {k: v for k, v in tensors.items() if not k.startswith(name + ".matrix")}
    for end in ("weight", "bias"):
        mixed[f"{name}.{end}"] = mixed.pop(f"{name}.original.{end}")
    zeroed = {
        k: torch.zeros_like(v) if k.startswith(name + ".matrix") else v for k, v in tensors.items()
    }
    ours = from_official(mixed, config)
    assert not any(
        k.startswith(
            (
                "content.transformer_blocks.1.attn1.to_out",
                "motion.transformer_blocks.1.attn1.to_out",
            )
        )
        for k in ours
    )
    plain, zero = (build_network(config, from_official(t, config)) for t in (mixed, zeroed))
    assert torch.allclose(plain(*inputs_for(plain)), zero(*inputs_for(zero)), atol=1e-6)


def test_chunks_make_the_same_as_the_whole():
    _, tensors, config = official("gen_rgba")
    whole = from_official(tensors, config)
    chunks = official_chunks(MemorySource(tensors), config)
    assert len(chunks) == 1 + config.network.num_layers
    pieces = [(chunk.specs(), chunk.tensors()) for chunk in chunks]
    made = {k: v for _, part in pieces for k, v in part.items()}
    assert made.keys() == whole.keys() and all(torch.equal(made[k], v) for k, v in whole.items())
    assert all(
        specs[k].is_meta and specs[k].shape == v.shape
        for specs, part in pieces
        for k, v in part.items()
    )
    assert sum(len(chunk.keys) for chunk in chunks) == len(tensors)


@pytest.mark.parametrize(
    "key",
    [
        "transformer.layers.1.mlp.dense_h_to_4h.weight",
        "transformer.layers.0.attention.query_key_value.matrix_C.1",
        "time_embed.0.bias",
    ],
)
def test_a_missing_tensor_is_named(key):
    _, tensors, config = official("gen_rgba")
    del tensors[key]
    with pytest.raises(CheckpointError, match=key.replace(".", r"\.")):
        from_official(tensors, config)


def test_a_missing_block_is_noticed():
    _, tensors, _ = official("gen_rgba")
    middle = {
        k: v
        for k, v in tensors.items()
        if "layers.1." not in k and "modulations.1." not in k and "list.1." not in k
    }
    with pytest.raises(CheckpointError, match=r"\.1\."):
        from_official(middle, read_config(middle, "gen_rgba", (6, 8)))
    tail = {k: v for k, v in tensors.items() if not k.startswith("transformer.layers.2.")}
    with pytest.raises(CheckpointError, match=r"layers\.2\."):
        from_official(tail, read_config(tail, "gen_rgba", (6, 8)))


def test_an_unexpected_tensor_is_named():
    _, tensors, config = official("gen_rgba")
    with pytest.raises(CheckpointError, match="mixins.surprise"):
        from_official({**tensors, "mixins.surprise.weight": torch.zeros(1)}, config)


def test_a_wrong_shape_is_named():
    _, tensors, config = official("gen_rgba")
    ours = from_official(tensors, config)
    ours["backbone.proj_out.weight"] = ours["backbone.proj_out.weight"][:-1]
    with pytest.raises(
        CheckpointError, match=r"backbone\.proj_out\.weight is \[63, 64\], expected \[64, 64\]"
    ):
        build_network(config, ours)


def test_a_short_position_table_is_refused():
    _, tensors, config = official("gen_rgba")
    tensors["mixins.pos_embed.pos_embedding"] = tensors["mixins.pos_embed.pos_embedding"][:, :-1]
    with pytest.raises(CheckpointError, match="at least 870 rows"):
        from_official(tensors, config)


def test_copies_of_t5_and_vae_are_left_out():
    raw, tensors, _ = official("gen_rgba")
    assert (
        network_keys(
            {**raw, "conditioner.embedders.0.x": None, "first_stage_model.decoder.x": None}
        ).keys()
        == tensors.keys()
    )
