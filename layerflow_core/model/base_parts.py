"""Text encoder, tokenizer and VAE of CogVideoX-2B, from wherever people keep them.

A diffusers folder, or single files as ComfyUI has them: T5 in Hugging Face's keys, plain or in scaled fp8; the VAE in
diffusers' keys or in those of the original release.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, MissingPartError
from .pickle_file import PickleFile
from .scaled_fp8 import unscaled
from .tensor_file import SafetensorsFile, TensorSource, View

TOKENIZER_FILE = "tokenizer.json"
SCALING_FACTOR = 1.15258426  # of CogVideoX-2B's latents; no shape tells this and the next
NORM_GROUPS = 32
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class BaseParts:
    """Where the parts lie that an official checkpoint lacks; a diffusers folder or a single file each.

    Args:
        tokenizer: ``tokenizer.json``, or a folder with one or with T5's ``spiece.model``.
    """

    text_encoder: Path | None = None
    tokenizer: Path | None = None
    vae: Path | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> BaseParts:
        """Raises MissingPartError if this is no diffusers CogVideoX-2b folder."""
        for part in ("text_encoder", "tokenizer", "vae"):
            if not (folder / part).is_dir():
                raise MissingPartError(f"{folder} has no {part} folder: expected a diffusers CogVideoX-2b folder")
        return cls(folder / "text_encoder", folder / "tokenizer", folder / "vae")


@dataclass(frozen=True)
class Part:
    """A text encoder or VAE that is not built yet: its config, and tensors by the library's keys."""

    config: Mapping[str, Any]
    tensors: TensorSource


class Shards:
    """Several files as one ``TensorSource``."""

    def __init__(self, files: Iterable[TensorSource]) -> None:
        self._files = list(files)
        self.specs = {key: spec for file in self._files for key, spec in file.specs.items()}

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        parts = (file.read([key for key in keys if key in file.specs]) for file in self._files)
        return {key: value for part in parts for key, value in part.items()}


def read_text_encoder(path: Path) -> Part:
    """A T5 encoder; raises CheckpointError if there is none at this place."""
    source = unscaled(_open(path), path)
    source = View(source, {key: key for key in source.specs if key == "shared.weight" or (key.startswith("encoder.") and "embed_tokens" not in key)})
    config = _folder_config(path)
    return Part(config or _t5_config(source.specs, path), source)


def read_vae(path: Path) -> Part:
    """A CogVideoX VAE; raises CheckpointError if there is none at this place."""
    source = _open(path)
    names = _network_of_vae(source.specs)
    blocks = 1 + max((int(found[1]) for key in names if (found := re.match(r"decoder\.up\.(\d+)\.", key))), default=-1)
    source = View(source, {_diffusers_key(key, blocks): theirs for key, theirs in names.items()})
    return Part(_folder_config(path) or _vae_config(source.specs, path), source)


def read_tokenizer(path: Path | None) -> bytes:
    """``tokenizer.json`` as bytes.

    Raises:
        MissingPartError: nothing there.
    """
    if path is None:
        raise MissingPartError("a text encoder without tokenizer met, expected T5's tokenizer.json or the tokenizer folder of CogVideoX-2b beside it")
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if file.is_file():
        return file.read_bytes()
    if not (path / "spiece.model").is_file():
        raise MissingPartError(f"{path} has no {TOKENIZER_FILE} and no spiece.model: expected T5's tokenizer")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True).backend_tokenizer.to_str().encode()


def _open(path: Path) -> TensorSource:
    if not path.is_dir():
        return PickleFile(path) if path.suffix in _PICKLES else SafetensorsFile(path)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{path} holds no .safetensors file: expected a part of a diffusers CogVideoX-2b folder, or a single file")
    return Shards(SafetensorsFile(file) for file in files)


def _folder_config(path: Path) -> dict[str, Any] | None:
    file = path / "config.json"
    if not file.is_file():
        return None
    return {key: value for key, value in json.loads(file.read_text()).items() if key != "_name_or_path"}


def _t5_config(specs: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """``T5Config`` fields from shapes."""
    first, attention, mlp = "encoder.block.0.layer", "SelfAttention", "DenseReluDense"
    shape = _shapes_in(specs, path, "a T5 encoder")
    vocabulary, width = shape("shared.weight")
    buckets, heads = shape(f"{first}.0.{attention}.relative_attention_bias.weight")
    gated = f"{first}.1.{mlp}.wi_0.weight" in specs
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "num_heads": heads,
        "d_kv": shape(f"{first}.0.{attention}.q.weight")[0] // heads,
        "d_ff": shape(f"{first}.1.{mlp}.wi_0.weight" if gated else f"{first}.1.{mlp}.wi.weight")[0],
        "num_layers": _count(specs, r"encoder\.block\.(\d+)\."),
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "is_encoder_decoder": False,
        "use_cache": False,
        "tie_word_embeddings": False,
    }


def _network_of_vae(specs: Mapping[str, Tensor]) -> dict[str, str]:
    """Keys from ``encoder.`` and ``decoder.`` on -> the keys in the file; a training file holds more."""
    found = ((re.search(r"(?:^|\.)((?:en|de)coder\..+)", key), key) for key in specs)
    return {match[1]: key for match, key in found if match and "loss." not in key}


# The original release's names within a VAE -> diffusers'.
_VAE_NAMES: tuple[tuple[str, str | Callable], ...] = (
    (r"\bmid\.block_(\d)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}"),
    (r"\bdown\.(\d+)\.block\.", r"down_blocks.\1.resnets."),
    (r"\bdown\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0."),
    (r"\bup_blocks\.(\d+)\.block\.", r"up_blocks.\1.resnets."),
    (r"\bup_blocks\.(\d+)\.upsample\.", r"up_blocks.\1.upsamplers.0."),
    (r"\bnin_shortcut\.", "conv_shortcut."),
)


def _diffusers_key(key: str, up_blocks: int) -> str:
    # The original counts the decoder's blocks from the picture, diffusers from the latents.
    key = re.sub(r"^decoder\.up\.(\d+)", lambda m: f"decoder.up_blocks.{up_blocks - 1 - int(m[1])}", key)
    for theirs, ours in _VAE_NAMES:
        key = re.sub(theirs, ours, key)
    return key


def _vae_config(specs: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """``AutoencoderKLCogVideoX`` config from shapes; what they do not tell is CogVideoX-2B's."""
    shape = _shapes_in(specs, path, "a CogVideoX VAE")
    levels = _count(specs, r"encoder\.down_blocks\.(\d+)\.")
    widths = [shape(f"encoder.down_blocks.{i}.resnets.0.conv1.conv.weight")[0] for i in range(levels)]
    return {
        "in_channels": shape("encoder.conv_in.conv.weight")[1],
        "out_channels": shape("decoder.conv_out.conv.weight")[0],
        "latent_channels": shape("decoder.conv_in.conv.weight")[1],
        "block_out_channels": widths,
        "down_block_types": ["CogVideoXDownBlock3D"] * levels,
        "up_block_types": ["CogVideoXUpBlock3D"] * levels,
        "layers_per_block": _count(specs, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "norm_num_groups": math.gcd(NORM_GROUPS, *widths),
        "scaling_factor": SCALING_FACTOR,
    }


def _shapes_in(specs: Mapping[str, Tensor], path: Path, what: str) -> Callable[[str], torch.Size]:
    def shape(key: str) -> torch.Size:
        if key not in specs:
            raise CheckpointError(f"{path} lacks {key} (met {sorted(specs)[:3] or 'nothing that fits'}): not {what}")
        return specs[key].shape

    return shape


def _count(specs: Mapping[str, Tensor], numbered: str) -> int:
    return 1 + max((int(found[1]) for key in specs if (found := re.match(numbered, key))), default=-1)
