import asyncio
import json
import sys

import pytest


@pytest.fixture()
def counter(pack):
    return sys.modules[f"{pack.__name__}.nodes.token_counter"]


async def chunks_of(data: bytes, size: int = 8192):
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_prompts_of_a_request(counter):
    assert counter.parse_texts(json.dumps({"texts": ["a dog", "", "é"]}).encode()) == [
        "a dog",
        "",
        "é",
    ]


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
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_request_is_a_typed_error(counter, body):
    with pytest.raises(Exception, match="request") as caught:
        counter.parse_texts(body)
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
