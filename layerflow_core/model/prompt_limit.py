"""How much a checkpoint reads of a prompt, known from its file's header: no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import ModelConfig, NetworkConfig
from ..errors import CheckpointError
from ..weights.checkpoint import CONFIG_KEY, TOKENIZER_KEY, decode_bytes
from ..weights.file_kind import SAFETENSORS, TORCH, find_kind, wrong_kind
from ..weights.tensor_file import SafetensorsFile

_LARGEST_TOKENIZER = 16 * 1024**2  # bytes; T5's has 2.4 million


@dataclass(frozen=True)
class PromptLimit:
    """What a checkpoint reads of each prompt.

    Args:
        tokens: at most, index and end mark included.
        tokenizer: bytes of the ``tokenizer.json`` that the checkpoint brings along; None: T5's own.
    """

    tokens: int = NetworkConfig().tokens_per_text
    tokenizer: bytes | None = None


OFFICIAL = PromptLimit()


def read_prompt_limit(path: Path) -> PromptLimit:
    """That of a checkpoint; the official one of a file that says nothing of itself, as released files do.

    Raises:
        CheckpointError: missing, damaged, or another kind of file.
    """
    if path.is_dir():
        return OFFICIAL
    kind = find_kind(path)
    if kind == TORCH:
        return OFFICIAL
    if kind != SAFETENSORS:
        raise wrong_kind(path, kind, SAFETENSORS, TORCH)
    file = SafetensorsFile(path)
    if CONFIG_KEY not in file.metadata:
        return OFFICIAL
    config = ModelConfig.from_json(file.metadata[CONFIG_KEY])
    return PromptLimit(config.network.tokens_per_text, _tokenizer_of(file))


def _tokenizer_of(file: SafetensorsFile) -> bytes | None:
    spec = file.specs.get(TOKENIZER_KEY)
    if spec is None:
        return None
    size = spec.numel() * spec.element_size()
    if size > _LARGEST_TOKENIZER:
        raise CheckpointError(
            f"{file.path}: got a tokenizer of {size} bytes, expected {_LARGEST_TOKENIZER} at most: "
            "the file is damaged"
        )
    return decode_bytes(file.read([TOKENIZER_KEY])[TOKENIZER_KEY], TOKENIZER_KEY)
