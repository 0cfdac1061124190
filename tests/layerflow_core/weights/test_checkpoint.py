import pytest
import torch

from layerflow_core.errors import CheckpointError, MissingPartError
from layerflow_core.model.loading import load_model, network_tensors
from layerflow_core.toy.embedded import EMBEDDED
from layerflow_core.weights.checkpoint import Checkpoint, digest, read_checkpoint, write_checkpoint


@pytest.fixture
def written(make_network, tmp_path):
    network = make_network("fg2bg_rgba", content=4, motion=2)
    tensors = {
        (f"lora.{k}" if k.startswith(("content", "motion")) else f"network.{k}"): v
        for k, v in network_tensors(network).items()
    }
    path = tmp_path / "model.safetensors"
    write_checkpoint(Checkpoint(network.config, tensors), path)
    return network, path


def test_round_trip(written, inputs_for):
    network, path = written
    model = load_model(path)
    assert model.config == network.config
    written_tensors, read = network_tensors(network), network_tensors(model.network)
    assert written_tensors.keys() == read.keys() and all(
        torch.equal(read[k], v) for k, v in written_tensors.items()
    )
    # Not to the bit: mapped weights lie at other addresses, and kernels add up in another order there.
    assert (model.network(*inputs_for(network)) - network(*inputs_for(network))).abs().max() < 1e-5
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_without_text_encoder_says_what_to_do(written):
    model = load_model(written[1])
    with pytest.raises(MissingPartError, match="--base"):
        model.require_text()
    with pytest.raises(MissingPartError, match="--base"):
        model.require_vae()


def test_truncated(written, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(written[1].read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(cut)
    cut.write_bytes(b"")
    with pytest.raises(CheckpointError):
        load_model(cut)


def test_truncated_embedded_model(tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(EMBEDDED.read_bytes()[: EMBEDDED.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(cut)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("network.position_table"), "missing: 1 .position_table"),
        (lambda t: t.update({"network.surprise": torch.zeros(1)}), "unexpected: 1 .surprise"),
        (
            lambda t: t.update({"network.position_table": torch.zeros(1, 2, 3)}),
            r"position_table is \[1, 2, 3\]",
        ),
        (
            lambda t: t.pop("lora.content.transformer_blocks.1.attn1.to_v.up"),
            "transformer_blocks.1.attn1.to_v.up",
        ),
        (lambda t: t.update({"lora.content.other.up": torch.zeros(1)}), "other.up"),
    ],
)
def test_wrong_keys_are_named(written, tmp_path, change, message):
    checkpoint = read_checkpoint(written[1])
    tensors = dict(checkpoint.tensors)
    change(tensors)
    write_checkpoint(Checkpoint(checkpoint.config, tensors), tmp_path / "changed.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "changed.safetensors")


def test_other_safetensors_files_are_told_apart(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="layerflow convert"):
        load_model(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="is not there"):
        load_model(tmp_path / "b.safetensors")


def test_digest_tells_files_apart(written, tmp_path):
    (tmp_path / "other").write_bytes(written[1].read_bytes()[:-1])
    assert digest(written[1]) != digest(tmp_path / "other")
    assert load_model(written[1]).digest == digest(written[1])
