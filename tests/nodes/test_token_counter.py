import asyncio
import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture()
def counter(pack):
    return sys.modules[f"{pack.__name__}.nodes.token_counter"]


async def chunks_of(data: bytes, size: int = 8192):
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture()
def ask(counter, monkeypatch):
    """Ask the route; words stand for T5's tokens, which ComfyUI would bring along."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({"?": 0, "</s>": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    monkeypatch.setattr(counter, "_t5_tokenizer", lambda: words)
    counter._read.cache_clear()
    return lambda **request: counter.answer_request(json.dumps(request).encode())


PROMPTS = ["a blue solid circle moving right", "", "a night sky"]


@pytest.mark.parametrize("request_of_none", [{}, {"checkpoint": None}])
def test_without_a_model_prompts_are_counted_as_official_ones_read(ask, request_of_none):
    """Each with its index and end mark; an empty one has none."""
    assert ask(texts=PROMPTS, **request_of_none) == {"counts": [8, 0, 5], "segment": 226}


def test_the_embedded_model_counts_with_its_own_tokenizer(ask, embedded):
    name = "embedded (procedural world)"
    answer = ask(texts=[*PROMPTS[:2], "a night sky " * 40], checkpoint=name)
    assert answer["segment"] == embedded.text.tokens == 16
    assert answer["counts"][0] == embedded.text.count_tokens(f"0, {PROMPTS[0]}") <= 16
    assert answer["counts"][1] == 0
    assert answer["counts"][2] > 100


def test_a_checkpoint_of_the_list_is_read_once_and_again_when_it_changes(
    ask, counter, host, embedded, monkeypatch
):
    path = host.models / "layerflow" / "mine.safetensors"
    path.parent.mkdir(exist_ok=True)
    read = []
    original = counter.read_prompt_limit
    monkeypatch.setattr(
        counter, "read_prompt_limit", lambda path: read.append(path) or original(path)
    )
    try:
        for tokens in (77, 5):
            network = replace(embedded.config.network, tokens_per_text=tokens)
            config = replace(embedded.config, network=network, text_encoder=None)
            save_file({"a": torch.zeros(tokens)}, path, {"layerflow": config.to_json()})
            for _ in range(3):
                answer = ask(texts=["a dog"], checkpoint="mine.safetensors")
                assert answer == {"counts": [4], "segment": tokens}
        assert read == [path, path]
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "name", ["none.safetensors", "../mine.safetensors", "/etc/passwd", "a\0b", "é" * 4000]
)
def test_a_checkpoint_that_is_not_listed_is_a_typed_error(ask, name):
    with pytest.raises(Exception, match="is not in models/layerflow") as caught:
        ask(texts=["a dog"], checkpoint=name)
    assert type(caught.value).__name__ == "CheckpointError"


def test_not_every_file_is_remembered(counter):
    assert counter._read.cache_info().maxsize <= 8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"{",
        b'{"texts": "a dog"}',
        b'{"texts": [1]}',
        b'{"texts": [null]}',
        b'{"texts": ["a", "b", "c", "d", "e", "f", "g", "h", "i"]}',
        b'{"texts": ["\\ud800"]}',
        b'{"texts": ["\xff"]}',
        b'{"texts": ' + b"[" * 60_000,
        b'{"texts": [], "checkpoint": ""}',
        b'{"texts": [], "checkpoint": 3}',
        b'{"texts": [], "checkpoint": ["a"]}',
        b'{"texts": [], "checkpoint": "' + b"x" * 5000 + b'"}',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_request_is_a_typed_error(counter, body):
    with pytest.raises(Exception, match="request") as caught:
        counter.answer_request(body)
    assert type(caught.value).__name__ == "PromptError"


def test_a_body_is_read_no_further_than_it_may_be_long(counter):
    read = []

    async def endless():
        while True:
            read.append(8192)
            yield b"x" * 8192

    with pytest.raises(Exception, match="expected the prompts of one node"):
        asyncio.run(counter.read_body(endless()))
    assert sum(read) <= counter.LARGEST_BODY + 8192
    assert (
        asyncio.run(counter.read_body(chunks_of(b"y" * counter.LARGEST_BODY)))
        == b"y" * counter.LARGEST_BODY
    )
