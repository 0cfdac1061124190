"""Per-layer prompts to one text context.

Each prompt is encoded alone, with its layer index in front, without attention mask, padded to the segment length
(paper section 3.1; source of the details: the official release). The unconditional branch is zeros.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CheckpointError, PromptError
from ..layout import Layout
from ..plain_data import parse_json
from ..weights.component_config import t5_fields

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import T5EncoderModel

CACHED_PROMPTS = 64
_TIED = "encoder.embed_tokens.weight"


def build_t5(config: Mapping[str, Any]) -> T5EncoderModel:
    """A T5 encoder of these ``T5Config`` fields, with random weights; other fields are left out.

    Raises:
        CheckpointError: a field is out of bounds, or the fields contradict each other.
    """
    from transformers import T5Config, T5EncoderModel

    fields = t5_fields(config, "the text encoder's config")
    try:
        return T5EncoderModel(T5Config(**fields)).eval()
    except ValueError as error:
        raise CheckpointError(f"the text encoder's config contradicts itself: {error}") from error


def untie(tensors: dict[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """T5 stores its input embedding under one or two names, depending on who wrote the file; give both."""
    shared = tensors.get("shared.weight", tensors.get(_TIED))
    if shared is None:
        return tensors
    both = {"shared.weight": shared, _TIED: shared}
    return {k: v for k, v in tensors.items() if k not in both} | {
        k: v for k, v in both.items() if k in expected
    }


class TextEncoder:
    """T5 and its tokenizer, with encodings kept by prompt.

    Args:
        tokenizer: truncation and padding are set here, to ``tokens`` tokens.
        t5: the encoder.
        tokens: length of one segment.
    """

    def __init__(self, tokenizer: Tokenizer, t5: T5EncoderModel, tokens: int) -> None:
        self.tokenizer = tokenizer
        self.t5 = t5
        self.tokens = tokens
        tokenizer.enable_truncation(tokens)
        tokenizer.enable_padding(length=tokens, pad_id=t5.config.pad_token_id)
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    @classmethod
    def from_data(cls, tokenizer_json: bytes, t5: T5EncoderModel, tokens: int) -> TextEncoder:
        """Raises CheckpointError if the tokenizer data is damaged, or of another model than the encoder."""
        tokenizer = read_tokenizer_data(tokenizer_json)
        largest = max(tokenizer.get_vocab().values(), default=0)
        if largest >= t5.config.vocab_size:
            raise CheckpointError(
                f"got a tokenizer with token {largest}, expected {t5.config.vocab_size} tokens "
                "as the text encoder has: "
                "take T5's own tokenizer"
            )
        return cls(tokenizer, t5, tokens)

    @property
    def width(self) -> int:
        return self.t5.config.d_model

    def token_ids(self, text: str) -> Tensor:
        """[tokens] int64."""
        with _tokenizer_errors():
            return torch.tensor(self.tokenizer.encode(text).ids)

    def count_tokens(self, text: str) -> int:
        """Tokens of the whole text, end mark included; what is beyond ``tokens`` is cut."""
        return count_tokens(self.tokenizer, text)

    def truncated(self, prompts: Mapping[str, str], layout: Layout) -> dict[str, int]:
        """By layer, how many tokens a prompt has that will be cut."""
        found = {}
        for segment in layout.segments(prompts):
            count = self.count_tokens(segment.text) if segment.text else 0
            if count > self.tokens:
                found[segment.layer] = count
        return found

    @torch.inference_mode()
    def encode(self, text: str) -> Tensor:
        """Last hidden state [tokens, width] of one prompt, from the cache if it was encoded before."""
        if text in self._cache:
            self._cache.move_to_end(text)
            return self._cache[text]
        ids = self.token_ids(text).to(self.t5.device)
        encoding = self.t5(input_ids=ids[None]).last_hidden_state[0].cpu()
        self._cache[text] = encoding
        if len(self._cache) > CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return encoding

    def is_cached(self, prompts: Mapping[str, str], layout: Layout) -> bool:
        """Whether all encodings are in the cache, so that the encoder need not go to its device."""
        texts = [segment.text for segment in layout.segments(prompts)]
        return all(text in self._cache for text in texts if text)

    def encode_layers(self, prompts: Mapping[str, str], layout: Layout) -> Tensor:
        """One context [1, S * tokens, width] for all segments of a layout.

        A layer without a prompt gets zeros: in training each segment's text was dropped one time in ten.

        Raises:
            PromptError: no layer has a prompt, or one names a layer without a text segment.
        """
        check_prompts(prompts, layout)
        encoded = []
        for segment in layout.segments(prompts):
            encoded.append(self.encode(segment.text) if segment.text else None)
        blank = next(e for e in encoded if e is not None).new_zeros(self.tokens, self.width)
        return torch.cat([blank if e is None else e for e in encoded])[None]


def read_tokenizer_data(data: bytes) -> Tokenizer:
    """A tokenizer from the bytes of its ``tokenizer.json``; raises CheckpointError if they are none."""
    from tokenizers import Tokenizer

    parse_json(data, "the checkpoint's tokenizer", CheckpointError)
    with _tokenizer_errors():
        return Tokenizer.from_buffer(data)


@contextmanager
def _tokenizer_errors() -> Iterator[None]:
    """What a damaged tokenizer raises, when it is read or later, becomes a CheckpointError."""
    try:
        yield
    except (
        BaseException
    ) as error:  # plain Exceptions, and a PanicException that is no Exception; none is a cancel
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        reason = str(error)[:200]
        raise CheckpointError(
            f"the checkpoint's tokenizer cannot be used: {reason}; take T5's own"
        ) from error


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Tokens of a text, its end mark included, whether or not the tokenizer cuts and pads."""
    with _tokenizer_errors():
        encoding = tokenizer.encode(text)
    return 1 + sum(sum(part.attention_mask) - 1 for part in (encoding, *encoding.overflowing))


def check_prompts(prompts: Mapping[str, str], layout: Layout) -> None:
    """Raises PromptError, see ``TextEncoder.encode_layers``."""
    for name, prompt in prompts.items():
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt for {name!r} is {type(prompt).__name__}, expected text")
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise PromptError(
                f"the prompt for {name!r} has half a character (a lone surrogate), expected text; type it again"
            )
        if prompt.strip() and name not in layout.names:
            raise PromptError(
                f"got a prompt for layer {name!r}, layout {layout.name!r} has {', '.join(layout.names)}"
            )
    if not any(prompts.get(name, "").strip() for name in layout.texts):
        raise PromptError(
            f"got no prompts, expected text for at least one of {', '.join(layout.texts)}: "
            "describe what each layer shows"
        )
