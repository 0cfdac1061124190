"""Configs of text encoders and VAEs from files: only fields that are known here, within bounds, reach the libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval, Le, Len

from ..errors import CheckpointError
from ..plain_data import Finite, as_record, read_json

LARGEST_CONFIG = 1024**2
"""Bytes of a ``config.json``; real ones have 1 KB."""

Width = Annotated[int, Interval(ge=1, le=65536)]
Small = Annotated[int, Interval(ge=1, le=256)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
_Token = Annotated[int, Interval(ge=0, le=2**24)]
_Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class T5Fields:
    """Fields of transformers' ``T5Config`` that say what an encoder computes; defaults are T5Config's own."""

    d_model: Width
    vocab_size: Annotated[int, Interval(ge=1, le=2**24)] = 32128
    d_kv: Width = 64
    d_ff: Width = 2048
    num_layers: Small = 6
    num_heads: Annotated[int, Interval(ge=1, le=1024)] = 8
    relative_attention_num_buckets: Annotated[int, Interval(ge=2, le=4096)] = 32
    relative_attention_max_distance: Annotated[int, Interval(ge=2, le=65536)] = 128
    dropout_rate: _Share = 0.1
    layer_norm_epsilon: Annotated[float, Interval(gt=0, le=1)] = 1e-6
    feed_forward_proj: Literal["relu", "gelu", "gated-gelu", "gated-silu"] = "relu"
    pad_token_id: _Token = 0
    eos_token_id: _Token = 1
    is_encoder_decoder: bool = False
    use_cache: bool = False
    tie_word_embeddings: bool = False


@dataclass(frozen=True)
class VaeFields:
    """Fields of diffusers' ``AutoencoderKLCogVideoX`` that say what it computes; defaults are its own."""

    in_channels: Small = 3
    out_channels: Small = 3
    down_block_types: Annotated[list[Literal["CogVideoXDownBlock3D"]], Len(1, 8)] | None = None
    up_block_types: Annotated[list[Literal["CogVideoXUpBlock3D"]], Len(1, 8)] | None = None
    block_out_channels: (
        Annotated[list[Annotated[int, Interval(ge=1, le=8192)]], Len(1, 8)] | None
    ) = None
    latent_channels: Small = 16
    layers_per_block: Annotated[int, Interval(ge=1, le=16)] = 3
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    norm_eps: Annotated[float, Interval(gt=0, le=1)] = 1e-6
    norm_num_groups: Annotated[int, Interval(ge=1, le=1024)] = 32
    temporal_compression_ratio: Annotated[int, Interval(ge=1, le=64)] = 4
    sample_height: Width = 480
    sample_width: Width = 720
    scaling_factor: Positive = 1.15258426
    shift_factor: Finite | None = None
    latents_mean: Annotated[list[Finite], Len(1, 256)] | None = None
    latents_std: Annotated[list[Positive], Len(1, 256)] | None = None
    force_upcast: bool = True
    use_quant_conv: bool = False
    use_post_quant_conv: bool = False
    invert_scale_latents: bool = False


def t5_fields(config: Any, source: str) -> dict[str, Any]:
    """The known fields of a T5 config, those left out at their defaults.

    Args:
        source: for messages.

    Raises:
        CheckpointError: a field is out of bounds, or this is no config of T5.
    """
    return asdict(as_record(T5Fields, config, source, CheckpointError))


def vae_fields(config: Any, source: str) -> dict[str, Any]:
    """The known fields of a CogVideoX VAE's config that are given.

    Args:
        source: for messages.

    Raises:
        CheckpointError: a field is out of bounds or contradicts another.
    """
    fields = as_record(VaeFields, config, source, CheckpointError)
    _check_levels(fields, source)
    _check_channels(fields, source)
    return {key: value for key, value in asdict(fields).items() if value is not None}


def _check_levels(fields: VaeFields, source: str) -> None:
    levels = (fields.block_out_channels, fields.down_block_types, fields.up_block_types)
    counts = {4 if level is None else len(level) for level in levels}  # diffusers' own has four
    if len(counts) != 1:
        raise CheckpointError(
            f"{source}: got different numbers of blocks {sorted(counts)}, expected one for all"
        )
    wrong = [width for width in fields.block_out_channels or () if width % fields.norm_num_groups]
    if wrong:
        raise CheckpointError(
            f"{source}: got {wrong[0]} channels in {fields.norm_num_groups} groups, expected a multiple"
        )


def _check_channels(fields: VaeFields, source: str) -> None:
    for name in ("latents_mean", "latents_std"):
        values = getattr(fields, name)
        if values is not None and len(values) != fields.latent_channels:
            raise CheckpointError(
                f"{source}: got {len(values)} values in {name}, expected {fields.latent_channels}, one for each channel"
            )


def read_config_file(folder: Path) -> Mapping[str, Any] | None:
    """``config.json`` of a part's folder as plain data, None if there is none; raises CheckpointError if it is none."""
    file = folder / "config.json"
    if not os.path.exists(file):
        return None
    data = read_json(file, CheckpointError, LARGEST_CONFIG)
    if not isinstance(data, dict):
        raise CheckpointError(
            f"{file}: got {type(data).__name__}, expected an object with the fields of a config"
        )
    return data
