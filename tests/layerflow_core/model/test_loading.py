from dataclasses import replace

import pytest
import torch

from layerflow_core.errors import CheckpointError, MissingPartError
from layerflow_core.model.loading import (
    AppliedLora,
    LayerFlowModel,
    assemble,
    build_network,
    load_model,
    network_tensors,
)
from layerflow_core.weights.checkpoint import TOKENIZER_KEY, Checkpoint, digest, read_checkpoint


@pytest.fixture(scope="module")
def checkpoint(quick_checkpoint) -> Checkpoint:
    return read_checkpoint(quick_checkpoint)


def test_a_network_gives_back_the_very_tensors_it_was_built_of(checkpoint):
    tensors = checkpoint.part("network")
    network = build_network(checkpoint.config, tensors)
    again = network_tensors(network)
    assert set(again) == set(tensors)
    assert all(torch.equal(again[key], value) for key, value in tensors.items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tensors: tensors.pop("position_table"), "position_table"),
        (lambda tensors: tensors.update(more=torch.rand(1)), "more"),
        (
            lambda tensors: tensors.update(position_table=torch.rand(1, 2, 3)),
            r"position_table is \[1, 2, 3\], expected",
        ),
        (
            lambda tensors: [
                tensors.pop(key) for key in list(tensors) if ".transformer_blocks.5." in key
            ],
            "got the weights of 5 blocks, expected 6",
        ),
    ],
    ids=["missing", "unexpected", "another shape", "a block is missing"],
)
def test_a_network_is_built_strictly(checkpoint, change, message):
    tensors = dict(checkpoint.part("network"))
    change(tensors)
    with pytest.raises(CheckpointError, match=message):
        build_network(checkpoint.config, tensors)


def test_every_part_computes_in_the_precision_that_is_asked_for(checkpoint):
    model = assemble(checkpoint, torch.bfloat16)
    for part in (model.network.backbone, model.text.t5, model.vae.vae):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.bfloat16}
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_a_model_says_where_it_came_from(quick_checkpoint, checkpoint):
    model = load_model(quick_checkpoint)
    assert model.source == quick_checkpoint and model.digest == digest(quick_checkpoint)
    assert model.provenance and model.provenance[0] == "torch.float32"
    assert load_model(quick_checkpoint, torch.bfloat16).provenance != model.provenance
    assert (assemble(checkpoint).digest, assemble(checkpoint).provenance) == ("", ())


def test_what_was_chosen_for_a_model_goes_before_its_checkpoint_s_own(quick_model):
    own = quick_model.sampler_for()
    chosen = replace(quick_model, sampler_overrides={"steps": 7})
    assert chosen.sampler_for() == {**own, "steps": 7} and quick_model.sampler_for() == own


def test_frames_have_the_size_of_the_latents_times_the_vae_s_factor(quick_model):
    network = quick_model.config.network
    assert quick_model.frame_size == (network.latent_height * 4, network.latent_width * 4)


def test_a_part_that_is_missing_is_asked_for_when_it_is_needed(checkpoint):
    bare = Checkpoint(
        replace(checkpoint.config, text_encoder=None, vae=None),
        {key: value for key, value in checkpoint.tensors.items() if key.startswith("network.")},
    )
    model: LayerFlowModel = assemble(bare)
    assert model.text is None and model.vae is None
    with pytest.raises(MissingPartError):
        model.require_text()
    with pytest.raises(MissingPartError):
        model.require_vae()


def test_a_text_encoder_without_its_tokenizer_is_incomplete(checkpoint):
    tensors = {key: value for key, value in checkpoint.tensors.items() if key != TOKENIZER_KEY}
    with pytest.raises(MissingPartError, match="got a text encoder without tokenizer"):
        assemble(Checkpoint(checkpoint.config, tensors))


def test_parts_of_another_width_do_not_fit(checkpoint):
    network = replace(checkpoint.config.network, text_embed_dim=8)
    with pytest.raises(CheckpointError):
        assemble(Checkpoint(replace(checkpoint.config, network=network), checkpoint.tensors))


def test_a_lora_that_the_file_lacks_cannot_be_given_a_strength(quick_checkpoint):
    model = load_model(quick_checkpoint)
    assert model.strengths == {"content": 1.0, "motion": 0.0}
    with pytest.raises(CheckpointError, match="this checkpoint has none"):
        model.set_strengths(1.0, 0.5)


def test_an_applied_lora_is_known_by_its_bytes(tmp_path):
    (tmp_path / "own.safetensors").write_bytes(b"weights")
    applied = AppliedLora.of(tmp_path / "own.safetensors", 1)
    assert (applied.name, applied.strength) == ("own.safetensors", 1.0)
    assert applied.sha256 == digest(tmp_path / "own.safetensors")
