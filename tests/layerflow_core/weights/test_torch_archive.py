import zipfile

import pytest
import torch

from layerflow_core.errors import CheckpointError
from layerflow_core.weights import torch_archive
from layerflow_core.weights.torch_archive import read_archive


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.arange(6.0), "b": torch.arange(4, dtype=torch.int16)}, path)
    return path


def test_storages_lie_where_it_is_said(saved):
    archive = read_archive(saved)
    data = saved.read_bytes()
    assert archive.size == len(data)
    expected = {
        torch.arange(6.0).numpy().tobytes(),
        torch.arange(4, dtype=torch.int16).numpy().tobytes(),
    }
    found = {data[part.start : part.start + part.length] for part in archive.storages.values()}
    assert found == expected
    assert archive.pickle in data


def rewrite(path, change) -> None:
    """The same archive, its entries as ``change`` has them: (name, bytes) to the same, or to nothing."""
    with zipfile.ZipFile(path) as old:
        entries = [(entry.filename, old.read(entry)) for entry in old.infolist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, data in entries:
            for changed in change(name, data):
                new.writestr(*changed)


def test_the_archive_s_folder_may_have_any_name(saved):
    rewrite(saved, lambda name, data: [(name.replace("a/", "another name/", 1), data)])
    assert len(read_archive(saved).storages) == 2


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda name, data: [] if "data.pkl" in name else [(name, data)], "damaged|not|expected"),
        (lambda name, data: [(name, data), (f"b/{name}", data)], "got 2 lists of tensors"),
        (
            lambda name, data: [(name, b"big" if name.endswith("byteorder") else data)],
            "byte order b'big'",
        ),
    ],
    ids=["no list", "two lists", "another byte order"],
)
def test_what_torch_never_writes_is_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(CheckpointError, match=message):
        read_archive(saved)


def test_a_list_of_tensors_has_a_largest_size(saved, monkeypatch):
    monkeypatch.setattr(torch_archive, "LARGEST_PICKLE", 10)
    with pytest.raises(CheckpointError, match="bytes of data.pkl, expected 10 at most"):
        read_archive(saved)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_cut_file_is_damaged(saved, share):
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(CheckpointError, match="damaged|incomplete|broke off|again"):
        read_archive(saved)
