import pytest
import torch

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.files import (
    NetworkFile,
    fill,
    find_file,
    open_source,
    read_state,
)

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
    path = tmp_path / "a.pth"
    torch.save({"model": {**named, "other": torch.zeros(1)}}, path)
    with torch.device("meta"):
        module = torch.nn.BatchNorm1d(3)
    names = {key: f"there.{key}" for key in module.state_dict()}
    fill(module, read_state(open_source(path), names, path), path)
    assert module.running_mean.tolist() == [2, 2, 2]
    assert module.weight.dtype == torch.float32 and not module.weight.requires_grad
    assert module.num_batches_tracked.dtype == torch.int64


def test_another_network_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(torch.nn.Linear(3, 4).state_dict(), path)
    source = open_source(path)
    with pytest.raises(EvaluationError, match="another network: got 2 tensors without scale"):
        read_state(source, {"weight": "scale"}, path)
    state = read_state(source, {"weight": "weight"}, path)
    with pytest.raises(EvaluationError, match=r"another network: got weight of \(4, 3\)"):
        fill(torch.nn.Linear(2, 4), state, path)
    with pytest.raises(EvaluationError, match="another network: it lacks bias"):
        fill(torch.nn.Linear(3, 4), state, path)
    path.write_text("<html>")
    with pytest.raises(EvaluationError, match="web page"):
        open_source(path)
