"""Counts a prompt's tokens for the browser, before anything is run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

ROUTE = "/layerflow/tokens"
SEGMENT = 226  # tokens that official checkpoints read of each prompt
_LONGEST = 100_000  # characters


@lru_cache(maxsize=1)
def _tokenizer():
    """T5's, which ComfyUI brings along."""
    import folder_paths
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(Path(folder_paths.__file__).parent / "comfy" / "text_encoders" / "t5_tokenizer" / "tokenizer.json"))


def count_prompts(texts: list[str]) -> list[int]:
    """Tokens of each prompt with its index in front and its end mark; 0 for none."""
    from ..layerflow_core.model.text import count_tokens, indexed

    return [count_tokens(_tokenizer(), indexed(index, text[:_LONGEST])) if text.strip() else 0 for index, text in enumerate(texts)]


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
        texts = (await request.json()).get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or len(texts) > 8:
            return web.json_response({"error": "expected {'texts': [up to 8 strings]}"}, status=400)
        return web.json_response({"counts": count_prompts(texts), "segment": SEGMENT})
