"""Text encoder, tokenizer and VAE of CogVideoX-2B, from wherever people keep them.

A diffusers folder, or single files as ComfyUI has them: T5 in Hugging Face's keys, plain or in scaled fp8; the VAE in
diffusers' keys or in those of the original release.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, MissingPartError
from ..plain_data import parse_json, read_bytes
from .block_count import count_blocks
from .component_config import read_config_file, t5_fields, vae_fields
from .file_kind import GGUF, find_kind, wrong_text
from .gguf_file import GgufFile, t5_names
from .scaled_fp8 import unscaled
from .tensor_file import TensorSource, View
from .weight_file import open_weights

TOKENIZER_FILE = "tokenizer.json"
SCALING_FACTOR = 1.15258426  # of CogVideoX-2B's latents; no shape tells this and the next
NORM_GROUPS = 32
TEXT_PART = "text_encoder"
VAE_PART = "vae"
"""Prefixes of the parts' keys in our files, and names of their configs."""
_log = logging.getLogger(__name__)
_VOCABULARY = "spiece.model"


@dataclass(frozen=True)
class Components:
    """Where the parts are that a checkpoint lacks, or that go before its own; a diffusers folder or a single file each.

    Args:
        tokenizer: ``tokenizer.json``, or a folder with one or with T5's ``spiece.model``; for a text encoder of the
            checkpoint's own it is taken where that has none with it.
    """

    text_encoder: Path | None = None
    tokenizer: Path | None = None
    vae: Path | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> Components:
        """Raises MissingPartError if this is no diffusers CogVideoX-2b folder."""
        for part in ("text_encoder", "tokenizer", "vae"):
            if not os.path.isdir(folder / part):
                raise MissingPartError(
                    f"{folder} has no {part} folder: expected a diffusers CogVideoX-2b folder"
                )
        return cls(folder / "text_encoder", folder / "tokenizer", folder / "vae")


@dataclass(frozen=True)
class Part:
    """A text encoder or VAE that is not built yet: its config, and tensors by the library's keys."""

    config: Mapping[str, Any]
    tensors: TensorSource


def read_text_encoder(path: Path) -> Part:
    """A T5 encoder; raises CheckpointError if there is none at this place."""
    if not os.path.isdir(path) and find_kind(path) == GGUF:
        file = GgufFile(path)
        names = t5_names(file.specs)
        if not names:
            raise CheckpointError(
                f"{path} is a GGUF file without T5's tensors (met {sorted(file.specs)[:3]}): "
                "not a T5 encoder"
            )
        return _text_encoder_in(View(file, names), path)
    return _text_encoder_in(open_weights(path), path)


def _text_encoder_in(weights: TensorSource, path: Path) -> Part:
    source = unscaled(weights, path)
    source = View(source, {key: key for key in source.specs if _is_of_encoder(key)})
    config = read_config_file(path) if os.path.isdir(path) else None
    stated = t5_fields(config or _t5_config(source.specs, path), str(path))
    _check_count(stated["num_layers"], count_blocks(source.specs, r"encoder\.block\.(\d+)\."), path)
    return Part(stated, source)


def _is_of_encoder(key: str) -> bool:
    return key == "shared.weight" or (key.startswith("encoder.") and "embed_tokens" not in key)


def read_vae(path: Path) -> Part:
    """A CogVideoX VAE; raises CheckpointError if there is none at this place."""
    return _vae_in(open_weights(path), path)


def _vae_in(weights: TensorSource, path: Path) -> Part:
    names = _network_of_vae(weights.specs)
    blocks = count_blocks(names, r"decoder\.up\.(\d+)\.")
    source = View(weights, {_diffusers_key(key, blocks): theirs for key, theirs in names.items()})
    config = read_config_file(path) if os.path.isdir(path) else None
    stated = vae_fields(config or _vae_config(source.specs, path), str(path))
    found = count_blocks(source.specs, r"encoder\.down_blocks\.(\d+)\.")
    _check_count(len(stated.get("block_out_channels", range(4))), found, path)
    return Part(stated, source)


# What a training run saves beside the network: name here -> prefix there, and what reads it.
_RELEASED: Mapping[str, tuple[str, Callable[[TensorSource, Path], Part]]] = {
    TEXT_PART: ("conditioner.embedders.0.transformer.", _text_encoder_in),
    VAE_PART: ("first_stage_model.", _vae_in),
}


def released_parts(weights: TensorSource, path: Path) -> dict[str, Part]:
    """The text encoder and VAE that an official file holds beside its network, by ``TEXT_PART`` and ``VAE_PART``.

    One that is incomplete is left out, with a warning: it can be had from elsewhere.
    """
    found = {}
    for name, (prefix, read) in _RELEASED.items():
        names = {key.removeprefix(prefix): key for key in weights.specs if key.startswith(prefix)}
        if not names:
            continue
        try:
            found[name] = read(View(weights, names), path)
        except CheckpointError as error:
            _log.warning("the %s in the file is not taken: %s", name.replace("_", " "), error)
    return found


def _check_count(stated: int, found: int, path: Path) -> None:
    """Before anything is built of what a config says."""
    if stated != found:
        raise CheckpointError(
            f"{path}: got the weights of {found} blocks, expected {stated} as its config says"
        )


def find_tokenizer(*places: Path) -> Path | None:
    """T5's tokenizer near some files or folders, without being named: one beside them, or ComfyUI's own above them."""
    above = [folder for place in places for folder in place.absolute().parents]
    beside = [place.parent / "tokenizer" for place in places]
    comfyui = [folder / "comfy" / "text_encoders" / "t5_tokenizer" for folder in above]
    wanted = (TOKENIZER_FILE, _VOCABULARY)
    for folder in (*beside, *comfyui):
        if any(os.path.isfile(folder / name) for name in wanted):
            return folder
    return None


def read_tokenizer(path: Path | None) -> bytes:
    """``tokenizer.json`` as bytes.

    Raises:
        MissingPartError: nothing there.
        CheckpointError: what is there is no tokenizer.
    """
    if path is None:
        raise MissingPartError(
            "got a text encoder without tokenizer, expected T5's tokenizer.json or the "
            "tokenizer folder of CogVideoX-2b: name it with --tokenizer, or put it beside"
        )
    file = path / TOKENIZER_FILE if os.path.isdir(path) else path
    if os.path.isfile(file):
        return _read_tokenizer_file(file)
    if not os.path.isfile(path / _VOCABULARY):
        raise MissingPartError(
            f"{path} has no {TOKENIZER_FILE} and no spiece.model: expected T5's tokenizer"
        )
    return _convert_vocabulary(path / _VOCABULARY)


def _read_tokenizer_file(file: Path) -> bytes:
    data = read_bytes(file, CheckpointError)
    try:
        parse_json(data, str(file), CheckpointError)
    except CheckpointError as error:
        raise wrong_text(file, find_kind(file), "T5's tokenizer.json", str(error)) from error
    return data


def _convert_vocabulary(file: Path) -> bytes:
    """T5's sentencepiece vocabulary alone: configs beside it could name code to load."""
    from transformers import T5TokenizerFast

    if not read_bytes(file, CheckpointError):  # bounds its size
        raise wrong_text(file, find_kind(file), "T5's spiece.model", "")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(file, Path(folder, _VOCABULARY))
        try:
            tokenizer = T5TokenizerFast.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # protobuf, sentencepiece and tokenizers raise their own; no cancel can pass here
            raise wrong_text(file, find_kind(file), "T5's spiece.model", "") from error
    return tokenizer.backend_tokenizer.to_str().encode()


def _t5_config(specs: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """``T5Config`` fields from shapes."""
    first, attention, mlp = "encoder.block.0.layer", "SelfAttention", "DenseReluDense"
    shape = _shapes_in(specs, path, "a T5 encoder")
    vocabulary, width = shape("shared.weight", 2)
    buckets, heads = shape(f"{first}.0.{attention}.relative_attention_bias.weight", 2)
    gated = f"{first}.1.{mlp}.wi_0.weight" in specs
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "num_heads": heads,
        "d_kv": shape(f"{first}.0.{attention}.q.weight", 2)[0] // heads,
        "d_ff": shape(f"{first}.1.{mlp}.wi_0.weight" if gated else f"{first}.1.{mlp}.wi.weight", 2)[
            0
        ],
        "num_layers": count_blocks(specs, r"encoder\.block\.(\d+)\."),
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
    # The original counts the decoder's blocks from the image, diffusers from the latents.
    key = re.sub(
        r"^decoder\.up\.(\d+)", lambda m: f"decoder.up_blocks.{up_blocks - 1 - int(m[1])}", key
    )
    for theirs, ours in _VAE_NAMES:
        key = re.sub(theirs, ours, key)
    return key


def _vae_config(specs: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """``AutoencoderKLCogVideoX`` config from shapes; what they do not tell is CogVideoX-2B's."""
    shape = _shapes_in(specs, path, "a CogVideoX VAE")
    levels = count_blocks(specs, r"encoder\.down_blocks\.(\d+)\.")
    widths = [
        shape(f"encoder.down_blocks.{i}.resnets.0.conv1.conv.weight", 5)[0] for i in range(levels)
    ]
    return {
        "in_channels": shape("encoder.conv_in.conv.weight", 5)[1],
        "out_channels": shape("decoder.conv_out.conv.weight", 5)[0],
        "latent_channels": shape("decoder.conv_in.conv.weight", 5)[1],
        "block_out_channels": widths,
        "down_block_types": ["CogVideoXDownBlock3D"] * levels,
        "up_block_types": ["CogVideoXUpBlock3D"] * levels,
        "layers_per_block": count_blocks(specs, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "norm_num_groups": math.gcd(NORM_GROUPS, *widths),
        "scaling_factor": SCALING_FACTOR,
    }


def _shapes_in(
    specs: Mapping[str, Tensor], path: Path, what: str
) -> Callable[[str, int], torch.Size]:
    def shape(key: str, dimensions: int) -> torch.Size:
        if key not in specs:
            raise CheckpointError(
                f"{path} lacks {key} (got {sorted(specs)[:3] or 'nothing that fits'}): not {what}"
            )
        found = specs[key].shape
        if len(found) != dimensions or 0 in found:
            raise CheckpointError(
                f"{path}: got {key} of shape {list(found)}, expected {dimensions} dimensions: not {what}"
            )
        return found

    return shape
