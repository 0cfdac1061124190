"""Counts prompts' tokens for the browser, before anything is run: as the connected checkpoint reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Len

from ..layerflow_core.errors import LayerFlowError, PromptError
from ..layerflow_core.layout import indexed
from ..layerflow_core.model.prompt_limit import OFFICIAL, read_prompt_limit
from ..layerflow_core.model.text import count_tokens, read_tokenizer_data
from ..layerflow_core.plain_data import parse_record
from .load_layerflow import find_checkpoint
from .model_files import stamp

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROUTE = "/layerflow/tokens"
LARGEST_BODY = 64 * 1024
"""Bytes of a request: far more than the prompts of which anything is read."""
_LONGEST_NAME = 4096
_CHECKPOINTS = 8  # that are remembered


@dataclass(frozen=True)
class TokenRequest:
    """What the browser asks.

    Args:
        checkpoint: as LoadLayerFlow's list has it; None where no model is connected.
    """

    texts: Annotated[list[Annotated[str, Len(0, LARGEST_BODY)]], Len(0, 8)]
    checkpoint: Annotated[str, Len(1, _LONGEST_NAME)] | None = None


@dataclass(frozen=True)
class PromptReader:
    """What counts prompts, and how many tokens are read of each."""

    tokenizer: Tokenizer
    tokens: int


def find_reader(checkpoint: str | None) -> PromptReader:
    """Of a checkpoint by name, of the official ones without.

    Raises:
        CheckpointError: no such name, or a damaged file.
    """
    if checkpoint is None:
        return PromptReader(_t5_tokenizer(), OFFICIAL.tokens)
    path = find_checkpoint(checkpoint)
    return _read(path, stamp(path))


@lru_cache(maxsize=_CHECKPOINTS)
def _read(path: Path, stamp: str) -> PromptReader:
    """Read again where the file has changed."""
    limit = read_prompt_limit(path)
    if limit.tokenizer is None:
        return PromptReader(_t5_tokenizer(), limit.tokens)
    return PromptReader(read_tokenizer_data(limit.tokenizer), limit.tokens)


@lru_cache(maxsize=1)
def _t5_tokenizer() -> Tokenizer:
    """T5's, which ComfyUI brings along."""
    import folder_paths
    from tokenizers import Tokenizer

    comfy = Path(folder_paths.__file__).parent / "comfy"
    return Tokenizer.from_file(str(comfy / "text_encoders" / "t5_tokenizer" / "tokenizer.json"))


def count_prompts(texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Tokens of each prompt with its index in front and its end mark; 0 for none."""
    counts = []
    for index, text in enumerate(texts):
        count = count_tokens(tokenizer, indexed(index, text)) if text.strip() else 0
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


def answer_request(body: bytes) -> dict:
    """Counts, and ``segment``, the number of tokens that are read of each prompt.

    Raises:
        PromptError: it is no request.
        CheckpointError: its checkpoint is not there or damaged.
    """
    request = parse_record(TokenRequest, body, "request", PromptError)
    reader = find_reader(request.checkpoint)
    return {"counts": count_prompts(request.texts, reader.tokenizer), "segment": reader.tokens}


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
            body = await read_body(request.content.iter_chunked(8192))
            # Beside the event loop, which serves every other request too.
            return web.json_response(await asyncio.to_thread(answer_request, body))
        except LayerFlowError as error:
            return web.json_response({"error": str(error)}, status=400)
