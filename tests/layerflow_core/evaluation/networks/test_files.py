import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.files import NetworkFile, fill, find_file

ROW = NetworkFile("Tiny", ("tiny-*.pth", "tiny.safetensors"), "nowhere")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Where torch keeps what it fetched."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_a_file_is_found_in_the_folder_before_the_hub(hub, tmp_path):
    (hub / "tiny-1.pth").touch()
    assert find_file(ROW, None) == hub / "tiny-1.pth"
    own = tmp_path / "own" / "below"
    own.mkdir(parents=True)
    (own / "tiny.safetensors").touch()
    assert find_file(ROW, tmp_path / "own") == own / "tiny.safetensors"


def test_a_missing_file_is_named_with_its_place_and_source(hub, tmp_path):
    with pytest.raises(EvaluationError, match="Tiny is missing: put tiny-.*nowhere"):
        find_file(ROW, tmp_path / "own")


def test_a_module_takes_a_files_tensors(tmp_path):
    source = torch.nn.BatchNorm1d(3).half()
    source.running_mean += 2
    named = {f"there.{key}": value for key, value in source.state_dict().items()}
    torch.save({**named, "other": torch.zeros(1)}, tmp_path / "a.pth")
    module = torch.nn.BatchNorm1d(3)
    fill(module, tmp_path / "a.pth", {key: f"there.{key}" for key in module.state_dict()})
    assert module.running_mean.tolist() == [2, 2, 2]
    assert module.weight.dtype == torch.float32 and module.num_batches_tracked.dtype == torch.int64


def test_another_network_is_refused(tmp_path):
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "a.pth")
    with pytest.raises(EvaluationError, match=r"another network: got weight of \(4, 3\)"):
        fill(torch.nn.Linear(2, 4), tmp_path / "a.pth")
    with pytest.raises(
        EvaluationError, match="another network: got 2 tensors without running_mean"
    ):
        fill(torch.nn.BatchNorm1d(4, affine=False), tmp_path / "a.pth")
    (tmp_path / "b.pth").write_text("<html>")
    with pytest.raises(EvaluationError):
        fill(torch.nn.Linear(2, 4), tmp_path / "b.pth")
