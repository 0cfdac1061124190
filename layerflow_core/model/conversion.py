"""Official checkpoints to our single file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CheckpointError
from .checkpoint import TOKENIZER_KEY, Checkpoint, encode_bytes, read_tensors
from .loading import build_network
from .lora import ADAPTERS
from .official import OFFICIAL_LATENT_SIZE, OFFICIAL_TOKENS_PER_TEXT, detect_variant, from_official, is_official, read_config, strip_prefix

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_DEEPSPEED_FILE = "mp_rank_00_model_states.pt"


def convert_official(source: Path, variant: str | None = None, base: Path | None = None, dtype: torch.dtype = torch.bfloat16,
                     latent_size: tuple[int, int] = OFFICIAL_LATENT_SIZE, tokens_per_text: int = OFFICIAL_TOKENS_PER_TEXT) -> Checkpoint:  # fmt: skip
    """Read an official checkpoint and check that every tensor fits.

    Args:
        source: the released folder, its ``.pt`` file, or the same tensors as ``.safetensors``.
        variant: one of the eight rows; may be left out where the shapes leave no doubt.
        base: a diffusers CogVideoX-2b folder, whose text encoder, tokenizer and VAE are packed into the file.

    Raises:
        CheckpointError: unreadable, incomplete, or the variant cannot be told.
    """
    tensors = strip_prefix(read_official(source))
    if not is_official(tensors):
        raise CheckpointError(f"{source} has no LayerFlow tensors (met {sorted(tensors)[:3]}): not an official checkpoint")
    config = read_config(tensors, variant or _only_variant(tensors, source), latent_size, tokens_per_text)
    ours = from_official(tensors, config)
    build_network(config, ours)  # refuses wrong shapes by name before anything is written
    packed = {f"lora.{k}" if k.split(".")[0] in ADAPTERS else f"network.{k}": v.to(dtype) for k, v in ours.items()}
    if base is None:
        return Checkpoint(config, packed)
    config, parts = read_base(base, config, dtype)
    return Checkpoint(config, packed | parts)


def _only_variant(tensors: dict[str, Tensor], source: Path) -> str:
    fitting = detect_variant(tensors)
    named = [v for v in fitting if v in str(source)]
    if len(fitting) == 1 or len(named) == 1:
        return (named or fitting)[0]
    raise CheckpointError(f"{source} could be {', '.join(fitting) or 'no known variant'}: say which with --variant")


def read_official(source: Path) -> dict[str, Tensor]:
    """Raw tensors of an official file or folder, never executing anything in it.

    Raises:
        CheckpointError: nothing there, or the pickle holds more than tensors and plain data.
    """
    if source.is_dir():
        found = sorted(source.rglob(_DEEPSPEED_FILE))
        if not found:
            raise CheckpointError(f"{source} holds no {_DEEPSPEED_FILE}: expected the folder of a released checkpoint")
        source = found[-1]
    if source.suffix == ".safetensors":
        return read_tensors(source)[0]
    return _read_pickle(source)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import pickle

    import numpy as np

    try:
        from numpy._core.multiarray import _reconstruct
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct

    # A training run saves numpy's random state beside the weights: plain arrays, and all that is let through.
    harmless = [_reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    if not path.is_file():
        raise CheckpointError(f"{path} is not there; check the name")
    try:
        with torch.serialization.safe_globals(harmless):
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to run {refused[1]}, which is never done" if refused else str(error).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as weights: {reason}") from error
    tensors = data.get("module", data) if isinstance(data, dict) else {}
    return {k: v for k, v in tensors.items() if isinstance(v, Tensor)}


def read_base(folder: Path, config: ModelConfig, dtype: torch.dtype) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Text encoder, tokenizer and VAE of a diffusers CogVideoX-2b folder.

    Raises:
        CheckpointError: a part is not there.
    """
    from diffusers import AutoencoderKLCogVideoX
    from transformers import AutoTokenizer, T5EncoderModel

    for part in ("text_encoder", "tokenizer", "vae"):
        if not (folder / part).is_dir():
            raise CheckpointError(f"{folder} has no {part} folder: expected a diffusers CogVideoX-2b folder")
    t5 = T5EncoderModel.from_pretrained(folder / "text_encoder", local_files_only=True).to(dtype)
    vae = AutoencoderKLCogVideoX.from_pretrained(folder / "vae", local_files_only=True).to(dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    tensors = {f"vae.{k}": v for k, v in vae.state_dict().items()}
    # T5's input embedding has two names and one storage, which safetensors refuses to write.
    tensors |= {f"text_encoder.{k}": v for k, v in t5.state_dict().items() if k != "encoder.embed_tokens.weight"}
    tensors[TOKENIZER_KEY] = encode_bytes(tokenizer.backend_tokenizer.to_str().encode())
    return replace(config, text_encoder=t5.config.to_diff_dict(), vae=dict(vae.config)), tensors
