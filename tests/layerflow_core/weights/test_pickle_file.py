"""Files of torch.save are read as torch reads them, and nothing in them is executed, built or followed."""

import argparse
import collections
import datetime
import io
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import textwrap
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from layerflow_core.errors import CheckpointError
from layerflow_core.weights import inert_pickle, stretch
from layerflow_core.weights.inert_pickle import Global, Opaque, read_pickle
from layerflow_core.weights.pickle_file import PickleFile

from ...peak_memory import limit_memory

PACK = Path(__file__).parents[3]


def all_kinds() -> dict[str, torch.Tensor]:
    """Tensors as checkpoints have them."""
    base = torch.arange(24.0).reshape(4, 6)
    dtypes = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
    return {
        "whole": base,
        "tied": base,
        "a view": base[1:3, 2:4],
        "transposed": base.T,
        "a parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "a scalar": torch.tensor(3.0),
        "empty": torch.empty(0, 4),
        **{f"of {dtype}": torch.arange(5).to(dtype) for dtype in dtypes},
    }


def beside_weights() -> dict:
    """What a training run saves beside them."""
    return {
        "iteration": 1000,
        "np_rng_state": np.random.get_state(),
        "random_rng_state": random.getstate(),
        "torch_rng_state": torch.get_rng_state(),
        "args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=[1])),
        "param_shapes": collections.OrderedDict(a=torch.Size([2, 3])),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "counts": collections.defaultdict(list, {1: [2]}),
        "set": {1, 2},
        "scalar": np.float64(3),
        "array": np.ones((2, 2)),
        "objects": np.array([{"a": 1}], dtype=object),
        "when": datetime.datetime(2025, 1, 1),
        "path": Path("a/b"),
        ("a", 1): "a tuple for a key",
        "complex": 1j,
        "bytes": b"\xff\x00",
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("container", ["module", "state_dict", None])
def test_what_torch_wrote_is_what_is_read(protocol, container, tmp_path):
    tensors = all_kinds()
    data = {container: tensors, **beside_weights()} if container else tensors
    torch.save(data, tmp_path / "a.pt", pickle_protocol=protocol)
    file = PickleFile(tmp_path / "a.pt")
    read = file.read(file.specs)
    assert read.keys() == tensors.keys() == file.specs.keys()
    for key, value in tensors.items():
        spec = file.specs[key]
        assert (
            spec.is_meta
            and spec.shape == value.shape
            and spec.dtype == read[key].dtype == value.dtype
        )
        assert torch.equal(read[key].double(), value.detach().double()), key


def test_a_module_s_state(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    file = PickleFile(tmp_path / "a.pt")
    assert all(
        torch.equal(value, module.state_dict()[key]) for key, value in file.read(file.specs).items()
    )
    torch.save(module, tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match="no tensors by name"):
        PickleFile(tmp_path / "whole.pt")


def test_reading_leaves_the_file_as_it_is(tmp_path):
    torch.save(all_kinds(), tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    PickleFile(tmp_path / "a.pt").read(["whole"])["whole"].zero_()
    assert (tmp_path / "a.pt").read_bytes() == before


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    torch.save(all_kinds(), tmp_path / "a.pt")
    file = PickleFile(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="has changed"):
        file.read(["whole"])


# ---- what is refused -------------------------------------------------------------------------------------------


def archive(
    path: Path, data: bytes, compression: int = zipfile.ZIP_STORED, **members: bytes
) -> Path:
    """torch's zip around any pickle."""
    with zipfile.ZipFile(path, "w", compression) as target:
        target.writestr("archive/data.pkl", data)
        for name, content in members.items():
            target.writestr(f"archive/data/{name}", content)
    return path


class Calls:
    """A pickle that has something called."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, arguments",
    [
        (Path.touch, (Path("owned"),)),
        (eval, ("open('owned', 'w')",)),
        (exec, ("open('owned', 'w')",)),
        (getattr, ("text", "upper")),
        (open, ("owned", "w")),
        (torch.zeros, (10**12,)),
        (torch.load, ("owned",)),
        (np.zeros, (10**12,)),
        (bytearray.fromhex, ("00",)),
        (pickle.loads, (b"N.",)),
        (zipfile.ZipFile, ("owned", "w")),
        (__import__, ("antigravity",)),
    ],
)
def test_nothing_is_called(function, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "a.pt", pickle.dumps({"a": Calls(function, *arguments)}))
    with pytest.raises(
        CheckpointError, match="wants to run [a-zA-Z_.]+, which is never done"
    ) as caught:
        PickleFile(path)
    assert not Path("owned").exists()
    assert "weights_only" not in str(caught.value)


class Colour:
    """Some class of some training code."""


def test_objects_of_unknown_classes_are_left_unread(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}, "object": Colour()}, tmp_path / "a.pt")
    file = PickleFile(tmp_path / "a.pt")
    assert torch.equal(file.read(["a"])["a"], torch.ones(2))


def test_other_tensors_are_named(tmp_path):
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not sparse, not quantised"):
        PickleFile(tmp_path / "a.pt")


POINTERS = """
    import pickle, struct, sys, zipfile
    import numpy
    from pathlib import Path

    class Calls:
        def __init__(self, *call): self.call = call
        def __reduce__(self): return self.call[0], self.call[1:]

    class Array:
        # numpy's own way, with a state that makes objects of the bytes: each a pointer.
        def __reduce__(self):
            from numpy._core.multiarray import _reconstruct
            state = (1, (4,), numpy.dtype("O"), False, [1, 2, 3, 4])
            return _reconstruct, (numpy.ndarray, (0,), b"b"), state

    raw = b"AAAAAAAA" * 4
    hostile = [
        Calls(numpy.ndarray, (4,), numpy.dtype("O"), raw),
        Calls(numpy.ndarray, (4,), numpy.dtype([("a", "O")]), raw),
        Array(),
    ]
    path = Path(sys.argv[1])
    for protocol in (2, 4):
        for each in hostile:
            data = pickle.dumps({"state_dict": {}, "np_rng_state": each}, protocol)
            with zipfile.ZipFile(path, "w") as target:
                target.writestr("archive/data.pkl", data)

            from layerflow_core.errors import CheckpointError
            from layerflow_core.weights.pickle_file import PickleFile

            before = {kind: getattr(numpy, kind) for kind in ("ndarray", "dtype")}
            try:
                PickleFile(path)
            except CheckpointError as error:
                assert "no tensors" in str(error), error
            assert before == {kind: getattr(numpy, kind) for kind in before}
    print("alive")
"""


def test_numpy_s_pointers_are_not_followed(tmp_path):
    """In a process of its own: it would die."""
    command = [sys.executable, "-c", textwrap.dedent(POINTERS), str(tmp_path / "a.pt")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PACK)
    assert (result.returncode, result.stdout.strip()) == (0, "alive"), result.stderr[-2000:]


def test_no_library_s_object_is_ever_made():
    """Whatever stands beside weights comes out as plain data or as our own records."""
    allowed = (
        dict,
        list,
        tuple,
        str,
        int,
        float,
        bool,
        bytes,
        bytearray,
        type(None),
        Global,
        Opaque,
    )
    for protocol in (2, 4, 5):
        waiting = [
            read_pickle(pickle.dumps({**beside_weights(), "torch_rng_state": 0}, protocol), "x")
        ]
        while waiting:
            value = waiting.pop()
            assert type(value) in allowed
            if isinstance(value, dict):
                waiting += [*value.keys(), *value.values()]
            elif isinstance(value, (list, tuple)):
                waiting += value


def nested(depth: int) -> bytes:
    return b"\x80\x02]" + b"]" * depth + b"a" * depth + b"."


def laughs(depth: int) -> bytes:
    """Tuples of the same tuple twice, as a key: hashing it would take 2 ** depth steps."""
    return b"\x80\x02}" + b")" + b"2\x86" * depth + b"K\x01s."


BOMBS = {
    "deep lists": nested(500_000),
    "deep tuples": b"\x80\x02)" + b"\x85" * 500_000 + b".",
    "a key that takes forever": laughs(200),
    "a long integer": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01" * 1000 + b".",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "many operations": b"\x80\x02]" + b"N0" * 1_500_000 + b".",
    "many entries": b"\x80\x02](" + b"N" * 3_000_000 + b"e.",
    "wrappers within each other": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n)"
    + b"\x85R" * 3
    + b".",
    "a memo that is not there": b"\x80\x02j\xff\xff\xff\x7f.",
    "an extension": b"\x80\x02\x82\x01.",
    "a buffer outside": b"\x80\x05\x97.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "too many marks": b"\x80\x02" + b"(" * 1000 + b".",
    "entries of a number": b"\x80\x02K\x01K\x02K\x03s.",
    "a class that is none": b"\x80\x02K\x01)\x81.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_before_they_grow(bomb, tmp_path):
    path = archive(tmp_path / "a.pt", BOMBS[bomb])
    is_long = len(BOMBS[bomb]) > 2**16  # what it makes is no longer, and counting takes its time
    bound = nullcontext() if is_long else limit_memory(2**22)
    with bound, pytest.raises(CheckpointError):
        PickleFile(path)


def test_a_long_text_is_not_multiplied_as_a_name():
    """Four bytes that recall a text twice would make a name of twice its length."""
    text = b"a" * 1_000_000
    data = (
        b"\x80\x04\x8d"
        + struct.pack("<Q", len(text))
        + text
        + b"\x94"
        + b"h\x00h\x00\x93" * 20
        + b"."
    )
    with limit_memory(5 * len(text)), pytest.raises(CheckpointError, match="damaged"):
        read_pickle(data, "a.pt")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = archive(tmp_path / "a.pt", bytes(200 * 2**20), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    expected = "compressed, which torch never does"
    with limit_memory(2**20), pytest.raises(CheckpointError, match=expected):
        PickleFile(path)


def test_a_pickle_of_too_many_bytes(tmp_path):
    with pytest.raises(CheckpointError, match="bytes of data.pkl, expected"):
        PickleFile(archive(tmp_path / "a.pt", bytes(65 * 2**20)))


def tensor_pickle(offset=0, size=(2,), stride=(1,), kind="FloatStorage", key="0") -> bytes:
    """A tensor that says of itself whatever is wanted."""

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return (
                ("storage", getattr(torch, kind), key, "cpu", 2)
                if isinstance(value, Storage)
                else None
            )

    buffer = io.BytesIO()
    tensor = Calls(
        torch._utils._rebuild_tensor_v2,
        Storage(),
        offset,
        size,
        stride,
        False,
        collections.OrderedDict(),
    )
    Pickler(buffer, 2).dump({"a": tensor})
    return buffer.getvalue()


def test_the_pickle_of_a_tensor_is_what_torch_writes(tmp_path):
    file = PickleFile(
        archive(tmp_path / "a.pt", tensor_pickle(), **{"0": struct.pack("<2f", 3, 4)})
    )
    assert file.read(["a"])["a"].tolist() == [3, 4]


@pytest.mark.parametrize(
    "said",
    [
        {"size": (3,)},
        {"offset": 1},
        {"offset": 2**61},
        {"offset": -1},
        {"stride": (2,)},
        {"stride": (-1,)},
        {"stride": (2**61,)},
        {"size": (2, 2), "stride": (0, 0)},
        {"size": (10**12,), "stride": (0,)},
        {"size": (2,), "stride": (1, 1)},
        {"size": (0, 2**60, 2**60, 2**60), "stride": (1, 1, 1, 1)},
        {"size": (1,) * 100, "stride": (1,) * 100},
        {"size": ("a",)},
        {"size": 2},
        {"size": (True,)},
        {"key": "1"},
        {"kind": "DoubleStorage"},
        {"kind": "ComplexFloatStorage"},
    ],
    ids=str,
)
def test_a_tensor_cannot_reach_beyond_its_storage(said, tmp_path):
    with pytest.raises(CheckpointError):
        PickleFile(archive(tmp_path / "a.pt", tensor_pickle(**said), **{"0": bytes(8)}))


def test_a_storage_cannot_reach_beyond_the_file(tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(size=(1000,)), **{"0": bytes(4000)})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"archive/data/0"))
    for field in (20, 24):  # compressed and whole size in the directory
        data[entry + field : entry + field + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="more than are there"):
        PickleFile(path)


@pytest.mark.parametrize(
    "order, fits",
    [(sys.byteorder, True), ("big" if sys.byteorder == "little" else "little", False)],
)
def test_byte_order(order, fits, tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(), **{"0": bytes(8)})
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("archive/byteorder", order)
    if fits:
        assert PickleFile(path).specs.keys() == {"a"}
    else:
        with pytest.raises(CheckpointError, match="byte order"):
            PickleFile(path)


def test_every_operation_of_a_pickle_is_known_or_refused():
    """No operation has a way around the table."""
    known = inert_pickle._PUSHES | inert_pickle._OPERATIONS.keys()
    refused = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID", "INST"}
    assert {operation.name for operation in pickletools.opcodes} == known | refused


def test_damage_is_never_untyped(tmp_path):
    """Bytes flipped and cut anywhere: read, or refused with words of our own."""
    torch.save(
        {"module": {k: v for k, v in all_kinds().items()}, **beside_weights()}, tmp_path / "a.pt"
    )
    whole = (tmp_path / "a.pt").read_bytes()
    chance = random.Random(0)
    target = tmp_path / "b.pt"
    for _ in range(400):
        data = bytearray(whole)
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        for _ in range(chance.choice((0, 1, 1, 3, 20))):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        target.write_bytes(data)
        try:
            file = PickleFile(target)
            file.read(file.specs)
        except CheckpointError as error:
            assert "weights_only" not in str(error)


def test_no_more_is_mapped_than_is_asked_for(tmp_path, monkeypatch):
    """A file larger than RAM cannot be mapped as a whole, nor a storage that holds all of its tensors."""
    flat = torch.arange(400_000, dtype=torch.float32)
    tensors = {"first": flat[:100_000].view(100, 1000), "last": flat[300_000:], "few": flat[7:9]}
    torch.save({"module": tensors}, tmp_path / "a.pt")
    file = PickleFile(tmp_path / "a.pt")
    mapped = []
    original = stretch.mmap.mmap
    monkeypatch.setattr(
        stretch.mmap,
        "mmap",
        lambda number, length, **where: mapped.append(length) or original(number, length, **where),
    )
    for key, value in tensors.items():
        assert torch.equal(file.read([key])[key], value), key
    assert len(mapped) == 2 and max(mapped) < 400_000 + stretch.mmap.ALLOCATIONGRANULARITY
    read = file.read(["first"])["first"]
    read += 1
    assert torch.equal(file.read(["first"])["first"], tensors["first"]), "the file stays as it is"


def test_a_turned_tensor_and_an_empty_one_are_read(tmp_path):
    turned = torch.randn(300, 200).T
    torch.save(
        {"turned": turned, "empty": torch.zeros(0, 3), "half": turned[50:]}, tmp_path / "a.pt"
    )
    file = PickleFile(tmp_path / "a.pt")
    found = file.read(file.specs)
    assert torch.equal(found["turned"], turned) and torch.equal(found["half"], turned[50:])
    assert found["empty"].shape == (0, 3)
