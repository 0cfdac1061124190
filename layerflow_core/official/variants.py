"""Which of the eight released checkpoints a file is, and of what dimensions: from its keys, its shapes and its name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Size, Tensor

from ..config import ModelConfig, NetworkConfig
from ..errors import CheckpointError
from ..layout import ALPHA, OFFICIAL_VARIANTS, Layout, find_layout
from ..model.lora import CONTENT, MOTION
from ..plain_data import as_record
from ..weights.block_count import count_blocks
from .keys import LORA_MATRICES, POSITIONS, PREFIX

TOKENS_PER_TEXT = 226
# The released folders, by task; they end in -rgb or -rgba.
_FOLDERS = {
    "gen": "multi-layer-generation",
    "seg": "multi-layer-decomposition",
    "fg2bg": "foreground-conditioned-generation",
    "bg2fg": "background-conditioned-generation",
}
_BLOCK_NUMBER = r"(?:transformer\.layers|mixins\.adaln_layer\.\w+)\.(\d+)\."
_MOST_ROWS = 2**22  # of a position table; the released ones have 23,628
_ASPECT = NetworkConfig().latent_height / NetworkConfig().latent_width


def choose_variant(
    specs: Mapping[str, Tensor], source: Path, tokens_per_text: int = TOKENS_PER_TEXT
) -> str:
    """The row that a file's shapes fit, and where they leave a choice, its name too.

    Raises:
        CheckpointError: none, or more than one.
    """
    fitting = detect_variant(specs, tokens_per_text)
    named = [variant for variant in fitting if _is_named(variant, source)]
    if len(fitting) == 1 or len(named) == 1:
        return (named or fitting)[0]
    known = ", ".join(fitting) or "no known variant"
    raise CheckpointError(
        f"{source} could be {known}: say which with `layerflow convert --variant`, or name the file after it"
    )


def detect_variant(
    specs: Mapping[str, Tensor], tokens_per_text: int = TOKENS_PER_TEXT
) -> tuple[str, ...]:
    """The rows that a checkpoint's table length and layer embedder fit; shapes alone cannot always tell tasks apart."""
    has_embedder = "mixins.pos_embed.txt_embedder.0.weight" in specs
    if POSITIONS not in specs:
        return ()
    rows = _rows(specs)
    layouts = [
        layout
        for name in OFFICIAL_VARIANTS
        if (layout := find_layout(name)).layer_embedding == has_embedder
    ]
    sizes = {layout.name: _tokens_per_frame(layout, rows, tokens_per_text) for layout in layouts}
    # Other sizes than the released one divide by chance too often to be believed beside it.
    released = tuple(
        name for name, tokens in sizes.items() if tokens == NetworkConfig().tokens_per_frame
    )
    return released or tuple(name for name, tokens in sizes.items() if tokens)


def released_folder(variant: str) -> str:
    """The folder of a variant in the released repository."""
    task, _, kind = variant.partition("_")
    return f"{_FOLDERS[task]}-{kind}"


def _is_named(variant: str, source: Path) -> bool:
    inside = re.compile(rf"(?<![a-z0-9]){variant}(?![a-z0-9])", re.IGNORECASE)
    return any(inside.search(name) or name == released_folder(variant) for name in source.parts)


def _tokens_per_frame(layout: Layout, rows: int, tokens_per_text: int) -> int:
    """Rows of a position table that each latent frame has; 0 where the layout does not fit."""
    # RGB tables are built for one latent frame more than is used.
    frames = layout.frames + (0 if layout.of_kind(ALPHA) else 1)
    tokens, rest = divmod(rows - layout.text_segments * tokens_per_text, frames)
    return tokens if tokens > 0 and not rest else 0


def read_config(
    specs: Mapping[str, Tensor],
    variant: str,
    latent_size: tuple[int, int] | None = None,
    tokens_per_text: int = TOKENS_PER_TEXT,
) -> ModelConfig:
    """Dimensions of an official checkpoint (prefix stripped) from its shapes.

    Args:
        variant: one of the eight rows.
        latent_size: latent height and width, which no shape tells; None takes those of 480 x 720's aspect ratio.

    Raises:
        LayoutError: unknown variant.
        CheckpointError: a tensor that tells a dimension is missing, or the variant does not fit.
    """
    layout = find_layout(variant)
    hidden, text_width = _shape(specs, "mixins.patch_embed.text_proj.weight", 2)
    _, channels, patch, _ = _shape(specs, "mixins.patch_embed.proj.weight", 4)
    blocks = count_blocks(specs, _BLOCK_NUMBER)
    if hidden == NetworkConfig().hidden_size and blocks != NetworkConfig().num_layers:
        raise CheckpointError(
            f"got {blocks} blocks, a CogVideoX-2B checkpoint has {NetworkConfig().num_layers}: the file is incomplete"
        )
    head = _shape(specs, "mixins.adaln_layer.query_layernorm_list.0.weight", 1)[0]
    height, width = latent_size or _latent_size(layout, specs, patch, tokens_per_text)
    dimensions = {
        "num_attention_heads": hidden // head,
        "attention_head_dim": head,
        "num_layers": blocks,
        "time_embed_dim": _shape(specs, "time_embed.0.weight", 2)[0],
        "text_embed_dim": text_width,
        "latent_channels": channels,
        "latent_height": height,
        "latent_width": width,
        "patch_size": patch,
        "tokens_per_text": tokens_per_text,
        "motion_rank": _lora_rank(specs, MOTION),
        "content_rank": _lora_rank(specs, CONTENT),
    }
    network = as_record(
        NetworkConfig, dimensions, "the official checkpoint's shapes", CheckpointError
    )
    return ModelConfig(layout=layout, network=network)


def _shape(specs: Mapping[str, Tensor], key: str, dimensions: int) -> Size:
    if key not in specs:
        raise CheckpointError(
            f"the official checkpoint lacks {PREFIX}{key}: the file is incomplete or no LayerFlow checkpoint"
        )
    shape = specs[key].shape
    if len(shape) != dimensions or 0 in shape:
        raise CheckpointError(
            f"the official checkpoint has {PREFIX}{key} of shape {list(shape)}, expected {dimensions} dimensions: "
            "the file is damaged or no LayerFlow checkpoint"
        )
    return shape


def _latent_size(
    layout: Layout, specs: Mapping[str, Tensor], patch: int, tokens_per_text: int
) -> tuple[int, int]:
    rows = _rows(specs)
    tokens = _tokens_per_frame(layout, rows, tokens_per_text)
    if not tokens:
        fitting = ", ".join(detect_variant(specs, tokens_per_text)) or "none of the released ones"
        raise CheckpointError(
            f"variant {layout.name!r} does not fit a position table of {rows} rows; by its shapes the file is {fitting}"
        )
    height, width = min(_sizes(tokens), key=lambda size: abs(math.log(size[0] / size[1] / _ASPECT)))
    return height * patch, width * patch


def _rows(specs: Mapping[str, Tensor]) -> int:
    """Of the position table."""
    rows = _shape(specs, POSITIONS, 3)[1]
    if rows > _MOST_ROWS:
        raise CheckpointError(
            f"got a position table of {rows} rows, expected {_MOST_ROWS} at most: the file is damaged"
        )
    return rows


def _sizes(tokens: int) -> Iterator[tuple[int, int]]:
    return ((height, tokens // height) for height in range(1, tokens + 1) if tokens % height == 0)


def _lora_rank(specs: Mapping[str, Tensor], adapter: str) -> int:
    down = LORA_MATRICES[adapter][0]
    found = [key for key in specs if re.search(rf"\.matrix_{down}\.\d+$", key)]
    return _shape(specs, found[0], 2)[0] if found else 0
