"""Words of a prompt that a checkpoint's tokenizer has no token for.

A small model knows a few dozen words and reads every other one as the same unknown token. T5's own tokenizer spells any
word of its languages out of pieces, so with it only letters of other scripts are unknown.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LETTERS = ("L", "N")  # Unicode categories; emoji are symbols
_MARKS = "M"
_SYMBOL = "So"
_NEAREST = 3  # known words that are named for an unknown one
_NAMED = 8  # unknown words that are named
_SMALL = 100  # words of a vocabulary that can be listed; of a larger one no word stands for what is unknown
_SHORTEST = 2  # letters of a known word that is named
_LONGEST = 40  # letters of an unknown word that are shown


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Words of which no part has a token, in order, each once.

    Args:
        tokenizer: one that cuts long texts is looked at beyond the cut, too.
    """
    unknown = _unknown_id(tokenizer)
    if unknown is None:
        return []
    text = unicodedata.normalize("NFC", text)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    places = set()
    for part in (encoding, *encoding.overflowing):
        for token, (start, stop) in zip(part.ids, part.offsets):
            if token == unknown:
                places.update(range(start, stop))
    words = [text[place.start : place.stop] for place in _words(text) if places.issuperset(place)]
    return list(dict.fromkeys(words))


def _words(text: str) -> Iterator[range]:
    """Where words and emoji stand; the marks that many scripts write vowels with belong to their words."""
    for kind, group in groupby(enumerate(text), lambda entry: _kind_of(entry[1])):
        places = [number for number, _ in group]
        if kind and not all(
            unicodedata.category(text[place]).startswith(_MARKS) for place in places
        ):
            yield range(places[0], places[-1] + 1)


def _kind_of(letter: str) -> str:
    """Empty for what is no part of a word."""
    category = unicodedata.category(letter)
    if category == _SYMBOL:
        return "symbol"
    is_part = letter == "_" or category.startswith((*_LETTERS, _MARKS))
    return "word" if is_part else ""


def known_words(tokenizer: Tokenizer) -> list[str]:
    """Whole words of the vocabulary in its order; pieces of words are none."""
    by_number = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    return [word for word, _ in by_number if word.isalpha() and len(word) >= _SHORTEST]


def describe_unknown(tokenizer: Tokenizer, prompts: Mapping[str, str]) -> str:
    """A sentence that names the unknown words of prompts and the nearest known ones; empty if all are known.

    Args:
        prompts: by layer name.
    """
    found: dict[str, None] = {}
    for text in prompts.values():
        found.update(dict.fromkeys(unknown_words(tokenizer, text)))
    if not found:
        return ""
    words = list(found)
    named = ", ".join(f'"{_shorten(word)}"' for word in words[:_NAMED])
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return f"does not know {named}{more}{_alternatives(tokenizer, words)}"


def _shorten(word: str) -> str:
    return word if len(word) <= _LONGEST else f"{word[:_LONGEST]}..."


def _alternatives(tokenizer: Tokenizer, words: list[str]) -> str:
    known = known_words(tokenizer)
    if not 0 < len(known) <= _SMALL:
        return ""
    near: dict[str, None] = {}
    for word in words[:_NAMED]:
        near.update(
            dict.fromkeys(difflib.get_close_matches(word[:_LONGEST].lower(), known, _NEAREST))
        )
    nearest = f"; nearest known words: {', '.join(near)}" if near else ""
    return f"{nearest}; it knows {', '.join(known)}"


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Number of the token that stands for what has none; None where there is no such token."""
    model = json.loads(tokenizer.to_str())["model"]
    number = model.get("unk_id")  # Unigram, as T5's
    name = model.get("unk_token")  # the other kinds
    return number if name is None else tokenizer.token_to_id(name)
