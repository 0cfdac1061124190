"""Tokenizer of the embedded model: one token per word of the procedural world."""

from __future__ import annotations

from .world import BACKGROUNDS, COLOURS, MATERIALS, MOTIONS, SHAPES

TOKENS_PER_TEXT = 16
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
_GLUE = "0 1 2 , . a an the in front of on over"


def vocabulary() -> list[str]:
    """Special tokens first, then every word of the captions, in a fixed order."""
    phrases = (_GLUE, *SHAPES, *COLOURS, *MATERIALS, *MOTIONS, *BACKGROUNDS)
    return [
        PAD,
        END,
        UNKNOWN,
        *dict.fromkeys(word for phrase in phrases for word in phrase.split()),
    ]


def tokenizer_json() -> str:
    """A ``tokenizers`` file: lower case, words and punctuation apart, T5's end mark, unknown words as ``<unk>``."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = vocabulary()
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, words.index(END))]
    )
    return tokenizer.to_str()
