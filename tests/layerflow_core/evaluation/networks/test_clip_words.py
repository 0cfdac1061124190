import gzip

import pytest

from layerflow_core.errors import EvaluationError
from layerflow_core.evaluation.networks.clip_words import ClipWords, read_merges

MERGES = ["#version: 0.2", "r e", "re d</w>", "s t", "st a", "sta r</w>", "t h", "th e</w>", ""]
RED, STAR, THE = 513, 516, 518  # behind 512 letters, by their line
START, END = 519, 520


@pytest.fixture
def words(tmp_path):
    (tmp_path / "merges.txt").write_text("\n".join(MERGES))
    return ClipWords(tmp_path)


def test_words_are_merged_in_the_lists_order(words):
    assert words.encode("The  RED\nstar", 8)[0].tolist() == [START, THE, RED, STAR, END, 0, 0, 0]


def test_letters_that_no_merge_has_stay_letters(words):
    # Bytes are numbered as GPT-2 orders them, the printable ones first; ends of words are 256 behind.
    ids = words.encode("red &amp; b!", 8)[0].tolist()
    ends = [256 + ord(letter) - ord("!") for letter in "&b!"]
    assert ids == [START, RED, *ends, END, 0, 0]


def test_a_longer_text_is_cut_and_ends(words):
    ids = words.encode("red " * 40, 32)[0].tolist()
    assert ids == [START, *[RED] * 30, END]
    assert words.encode("", 4)[0].tolist() == [START, END, 0, 0]


def test_the_packed_list_is_the_same(tmp_path):
    plain = tmp_path / "merges.txt"
    plain.write_text("\n".join(MERGES))
    packed = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_merges(packed) == read_merges(plain) == [tuple(m.split()) for m in MERGES[1:-1]]


@pytest.mark.parametrize(
    "name, data, text",
    [
        ("merges.txt", b"", "no list of merges"),
        ("merges.txt", b"\na b c\n", "no list of merges"),
        ("merges.txt", b"\n\xff\xfe", "not text in UTF-8"),
        ("merges.txt", b"\nno such\n", "contradicts itself"),
        ("bpe_simple_vocab_16e6.txt.gz", b"\na b", "cannot be unpacked"),
        ("bpe_simple_vocab_16e6.txt.gz", gzip.compress(bytes(17 * 2**20)), "more than"),
    ],
)
def test_bad_lists_are_one_error_each(tmp_path, name, data, text):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EvaluationError, match=text):
        ClipWords(tmp_path)
