"""CLIP's byte pair encoding (``clip/simple_tokenizer.py`` of openai/CLIP), from its list of merges alone.

The vocabulary follows from the merges: 256 bytes, the same as ends of words, what the merges make, two marks.
"""

from __future__ import annotations

import html
import zlib
from pathlib import Path

import torch
from torch import Tensor

from ...errors import EvaluationError
from ...plain_data import decode, read_bytes
from .files import CLIP_WORDS, find_file

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_MERGES = 49152 - 256 - 2
_LARGEST = 16 * 1024**2  # bytes of the list, unpacked
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


class ClipWords:
    """Raises EvaluationError if the list is missing, or none."""

    def __init__(self, folder: Path | None) -> None:
        path = find_file(CLIP_WORDS, folder)
        merges = read_merges(path)
        self._tokenizer = _build(merges)
        self._start = self._tokenizer.token_to_id(START)
        self._end = self._tokenizer.token_to_id(END)

    def encode(self, text: str, length: int) -> Tensor:
        """[1, length] ids: start, words, end, zeros; a longer text is cut, and its last id is the end."""
        ids = self._tokenizer.encode(html.unescape(html.unescape(text)).strip()).ids
        ids = [self._start, *ids, self._end][:length]
        if len(ids) == length:
            ids[-1] = self._end
        return torch.tensor([ids + [0] * (length - len(ids))])


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs of a list, packed or not, in their order; the first line is a comment.

    Raises:
        EvaluationError: it is no such list.
    """
    data = read_bytes(path, EvaluationError, _LARGEST)
    if path.suffix == ".gz":
        data = _unpack(data, path)
    lines = decode(data, str(path), EvaluationError).split("\n")[1 : _MERGES + 1]
    pairs = [tuple(line.split()) for line in lines if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise EvaluationError(
            f"{path} is no list of merges, expected two parts in each of its lines but the first"
        )
    return pairs


def _unpack(data: bytes, path: Path) -> bytes:
    """Bounded: a small file may claim to be a large one."""
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        text = unpacking.decompress(data, _LARGEST)
    except zlib.error as error:
        raise EvaluationError(f"{path} cannot be unpacked: {error}") from error
    if unpacking.unconsumed_tail:
        raise EvaluationError(f"{path}: got more than {_LARGEST} bytes, expected fewer")
    return text


def _build(merges: list[tuple[str, str]]):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    letters = list(_byte_letters())
    words = [*letters, *(letter + _WORD_END for letter in letters)]
    words += ["".join(pair) for pair in merges]
    words += [START, END]
    vocabulary = {word: number for number, word in enumerate(words)}
    try:
        model = models.BPE(
            vocabulary, merges, unk_token=END, end_of_word_suffix=_WORD_END, fuse_unk=False
        )
    except Exception as error:  # the library's own: a merge of parts that the list does not make
        if type(error) is not Exception:
            raise
        raise EvaluationError(f"CLIP's list of merges contradicts itself: {error}") from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _byte_letters():
    """A printable letter for each byte: those that have one first, as GPT-2 orders them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    yield from map(chr, printable)
    others = 256 - len(printable)
    yield from (chr(256 + number) for number in range(others))
