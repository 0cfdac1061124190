"""Counts a prompt's tokens for the browser, before anything is run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from annotated_types import Len

from ..layerflow_core.errors import PromptError
from ..layerflow_core.plain_data import parse_record

ROUTE = "/layerflow/tokens"
SEGMENT = 226  # tokens that official checkpoints read of each prompt
LARGEST_BODY = 64 * 1024
"""Bytes of a request: far more than the prompts of which anything is read."""


@dataclass(frozen=True)
class TokenRequest:
    """What the browser asks."""

    texts: Annotated[list[Annotated[str, Len(0, LARGEST_BODY)]], Len(0, 8)]


@lru_cache(maxsize=1)
def _tokenizer():
    """T5's, which ComfyUI brings along."""
    import folder_paths
    from tokenizers import Tokenizer

    comfy = Path(folder_paths.__file__).parent / "comfy"
    return Tokenizer.from_file(str(comfy / "text_encoders" / "t5_tokenizer" / "tokenizer.json"))


def count_prompts(texts: list[str]) -> list[int]:
    """Tokens of each prompt with its index in front and its end mark; 0 for none."""
    from ..layerflow_core.layout import indexed
    from ..layerflow_core.model.text import count_tokens

    counts = []
    for index, text in enumerate(texts):
        count = count_tokens(_tokenizer(), indexed(index, text)) if text.strip() else 0
        counts.append(count)
    return counts


async def read_body(chunks: AsyncIterable[bytes]) -> bytes:
    """A request's body, read no further than it may be long; raises PromptError for a longer one."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > LARGEST_BODY:
            raise PromptError(
                f"got more than {LARGEST_BODY} bytes, expected the prompts of one node"
            )
    return bytes(body)


def parse_texts(body: bytes) -> list[str]:
    """The prompts that a request asks about; raises PromptError if it is none."""
    return parse_record(TokenRequest, body, "request", PromptError).texts


def register_routes() -> None:
    """Does nothing without a server, as in a script."""
    try:
        from server import PromptServer
    except ImportError:
        return
    instance = getattr(PromptServer, "instance", None)
    if instance is None:
        return
    from aiohttp import web

    @instance.routes.post(ROUTE)
    async def answer(request):
        try:
            texts = parse_texts(await read_body(request.content.iter_chunked(8192)))
        except PromptError as error:
            return web.json_response({"error": str(error)}, status=400)
        # Beside the event loop, which serves every other request too.
        counts = await asyncio.to_thread(count_prompts, texts)
        return web.json_response({"counts": counts, "segment": SEGMENT})
