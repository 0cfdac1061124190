"""Words that a tokenizer has no token for; the tokenizers are made here, one of each kind."""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from layerflow_core.model.vocabulary import describe_unknown, known_words, unknown_words
from layerflow_core.toy.captions import vocabulary


@pytest.fixture
def of_words(embedded):
    return embedded.text.tokenizer


@pytest.fixture
def of_pieces():
    """As T5's: single letters and a few pieces; what is none of them is unknown."""
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, 2, False))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def test_words_of_the_world_are_known(of_words):
    assert (
        unknown_words(of_words, "a Blue solid circle, moving right in front of an orange sunset.")
        == []
    )


def test_every_unknown_word_is_found_once_and_as_it_was_written(of_words):
    assert unknown_words(of_words, "a Dog and a red dog, and a Dog") == ["Dog", "and", "dog"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("\U0001f436 circle", ["\U0001f436"]),
        ("\u2764\ufe0f red", ["\u2764"]),
        ("re\u0301d circle", ["r\u00e9d"]),
        ("\u0915\u0941\u0924\u094d\u0924\u093e red", ["\u0915\u0941\u0924\u094d\u0924\u093e"]),
        ("\u201cred\u201d \u2014 circle!", []),
    ],
)
def test_other_scripts_and_emoji(text, words, of_words):
    assert unknown_words(of_words, text) == words


def test_an_endless_word_is_named_by_its_beginning(of_words):
    sentence = describe_unknown(of_words, {"foreground": "x" * 5000})
    assert f'"{"x" * 40}..."' in sentence
    assert len(sentence) < 1000


def test_words_beyond_the_cut_are_found(of_words):
    assert unknown_words(of_words, "a " * 40 + "kitten") == ["kitten"]


def test_the_sentence_names_the_nearest_words_and_all_of_them(of_words):
    sentence = describe_unknown(of_words, {"foreground": "a purpel circel", "background": "a sky"})
    assert sentence.startswith(
        'does not know "purpel", "circel"; nearest known words: purple, circle'
    )
    listed = sentence.partition("it knows ")[2].split(", ")
    assert listed == [word for word in vocabulary() if word.isalpha() and len(word) > 1]


def test_a_word_like_no_other_has_no_nearest(of_words):
    assert "nearest" not in describe_unknown(of_words, {"foreground": "a xyzzyq"})


def test_many_unknown_words_are_counted(of_words):
    sentence = describe_unknown(
        of_words, {"foreground": " ".join(f"q{number}" for number in range(20))}
    )
    assert '"q7" and 12 more' in sentence


def test_pieces_spell_ordinary_words_and_only_other_scripts_are_unknown(of_pieces):
    assert unknown_words(of_pieces, "A golden retriever, na\u00efve {and} ~quick~") == []
    assert unknown_words(of_pieces, "the небо above") == ["небо"]
    assert describe_unknown(of_pieces, {"foreground": "небо"}) == 'does not know "небо"'
    assert known_words(of_pieces) == []


def test_without_an_unknown_token_everything_is_known():
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    assert unknown_words(tokenizer, "a b zebra") == []


def test_no_prompt_no_sentence(of_words):
    assert describe_unknown(of_words, {"foreground": "", "background": " "}) == ""
