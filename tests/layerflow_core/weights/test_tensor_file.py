import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from layerflow_core.errors import CheckpointError
from layerflow_core.weights.tensor_file import (
    Chunk,
    MemorySource,
    SafetensorsFile,
    View,
    planned_size,
    read_tensors,
    write_chunks,
    write_tensors,
)

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.int64,
    torch.uint8,
    torch.bool,
)


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    kinds = {str(dtype).rpartition(".")[2]: (torch.randn(3, 5) * 4).to(dtype) for dtype in DTYPES}
    return {
        **kinds,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "turned": torch.randn(4, 6).T,
    }


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].dtype == value.dtype and torch.equal(got[key].double(), value.double()), key


def test_the_library_reads_what_is_written(tensors, tmp_path):
    write_tensors(tmp_path / "new" / "a.safetensors", tensors, {"who": "me"})
    assert_same(load_file(tmp_path / "new" / "a.safetensors"), tensors)
    assert safe_open(str(tmp_path / "new" / "a.safetensors"), "pt").metadata() == {"who": "me"}


def test_what_the_library_writes_is_read(tensors, tmp_path):
    whole = {key: value.contiguous() for key, value in tensors.items()}
    save_file(whole, tmp_path / "a.safetensors", {"who": "me"})
    read, metadata = read_tensors(tmp_path / "a.safetensors")
    assert_same(read, whole)
    assert metadata == {"who": "me"}


def test_a_file_is_made_from_another_piece_by_piece(tensors, tmp_path):
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    source = SafetensorsFile(tmp_path / "a.safetensors")
    chunks = [
        Chunk(
            source,
            [key],
            lambda found: {f"new.{key}": value.reshape(-1) for key, value in found.items()},
        )
        for key in tensors
    ]
    write_chunks(tmp_path / "b.safetensors", chunks, {})
    assert_same(
        load_file(tmp_path / "b.safetensors"),
        {f"new.{key}": value.reshape(-1) for key, value in tensors.items()},
    )


def test_specs_tell_without_reading(tensors, tmp_path):
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    specs = SafetensorsFile(tmp_path / "a.safetensors").specs
    assert all(
        specs[k].is_meta and specs[k].shape == v.shape and specs[k].dtype == v.dtype
        for k, v in tensors.items()
    )


def test_a_view_renames(tensors):
    view = View(MemorySource(tensors), {"a": "scalar", "b": "turned"})
    assert view.specs["b"].shape == (6, 4)
    assert_same(view.read(["a"]), {"a": tensors["scalar"]})


def test_a_write_that_fails_leaves_nothing_and_spares_what_was_there(tmp_path):
    def fail(found):
        if not found["a"].is_meta:
            raise RuntimeError("in the middle")
        return found

    write_tensors(tmp_path / "x.safetensors", {"a": torch.ones(2)}, {})
    for name in ("x.safetensors", "y.safetensors"):
        with pytest.raises(RuntimeError, match="in the middle"):
            write_chunks(
                tmp_path / name, [Chunk(MemorySource({"a": torch.zeros(4)}), ["a"], fail)], {}
            )
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    assert_same(load_file(tmp_path / "x.safetensors"), {"a": torch.ones(2)})


def test_damaged_files_are_named(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(100)}, {})
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:200])
    with pytest.raises(CheckpointError, match="a.safetensors cannot be read"):
        SafetensorsFile(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="is not there"):
        SafetensorsFile(tmp_path / "b.safetensors")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_tensors(tmp_path / "file" / "a.safetensors", {"a": torch.ones(2)}, {})


def test_a_disk_that_is_too_small_is_found_before_a_byte_is_written(tmp_path):
    large = torch.empty(2**45, 8, dtype=torch.uint8, device="meta")

    class Large:
        specs = {"weight": large}

        def read(self, keys):
            raise AssertionError("was read")

    chunks = [Chunk(Large(), ["weight"])]
    assert planned_size(chunks) == 2**48
    with pytest.raises(CheckpointError, match="takes 281475.0 GB"):
        write_chunks(tmp_path / "a.safetensors", chunks, {})
    assert list(tmp_path.iterdir()) == []
