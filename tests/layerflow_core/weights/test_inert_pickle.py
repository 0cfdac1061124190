"""Plain data of a pickle without anything being called; whole files of ``torch.save`` are in ``test_pickle_file``."""

import collections
import os
import pickle

import pytest

from layerflow_core.errors import CheckpointError
from layerflow_core.weights import inert_pickle
from layerflow_core.weights.inert_pickle import Opaque, read_pickle

PLAIN = {
    "text": "a dog \U0001f415",
    "numbers": [0, -1, 2**40, 2**80, 1.5, float("inf")],
    "nested": {"a": ({"b": (1, 2, 3)}, [True, False, None])},
    7: "a number as key",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_what_python_reads(protocol):
    assert read_pickle(pickle.dumps(PLAIN, protocol), "a.pt") == PLAIN


def test_what_is_shared_stays_shared():
    shared = [1]
    read = read_pickle(pickle.dumps({"a": shared, "b": shared}), "a.pt")
    assert read["a"] is read["b"]


class Runs:
    """Would make a folder if it were unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_nothing_is_called(tmp_path):
    data = pickle.dumps({"weights": Runs(str(tmp_path / "made"))})
    with pytest.raises(CheckpointError, match="wants to run posix.mkdir|nt.mkdir"):
        read_pickle(data, "a.pt")
    assert not (tmp_path / "made").exists()


class Settings:
    """An object of a class that nobody knows here."""

    def __init__(self):
        self.lr = 0.1


def test_objects_are_left_unread():
    read = read_pickle(pickle.dumps({"settings": Settings()}, 2), "a.pt")
    assert isinstance(read["settings"], Opaque) and read["settings"].name.endswith(".Settings")


def test_ordered_dictionaries_are_dictionaries():
    data = pickle.dumps(collections.OrderedDict(b=1, a=2))
    assert list(read_pickle(data, "a.pt").items()) == [("b", 1), ("a", 2)]


def test_a_pickle_has_a_largest_length(monkeypatch):
    monkeypatch.setattr(inert_pickle, "MOST_OPERATIONS", 20)
    with pytest.raises(CheckpointError, match="more than 20 operations"):
        read_pickle(pickle.dumps(list(range(100))), "a.pt")


@pytest.mark.parametrize("data", [b"", b".", b"]", b"\x80\x04K\x01", b"e.", b"\x80\x04h\x05."])
def test_a_pickle_that_contradicts_itself_is_damaged(data):
    with pytest.raises(
        CheckpointError, match="a.pt cannot be read: its list of tensors is damaged"
    ):
        read_pickle(data, "a.pt")
