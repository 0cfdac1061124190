"""Official key layout <-> ours.

Source: the official release (SwissArmyTransformer layout) as it is read by its own loader. Keys with ``.original.``
carry LoRA beside them; plain keys mean "no LoRA for this module". Both are read, both can be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ..config import ModelConfig, NetworkConfig
from ..errors import CheckpointError
from ..layout import OFFICIAL_VARIANTS, Layout, find_layout
from .lora import CONTENT, MOTION

PREFIX = "model.diffusion_model."
IGNORED_PREFIXES = ("conditioner.", "first_stage_model.")  # T5 and VAE copies that a training run may have saved
OFFICIAL_TOKENS_PER_TEXT = 226
OFFICIAL_LATENT_SIZE = (60, 90)

# official name -> ours, for what stands once
_ONCE = {
    "mixins.pos_embed.txt_embedder.0": "layer_embedder.linear",
    "mixins.pos_embed.txt_embedder.1": "layer_embedder.norm",
    "mixins.patch_embed.proj": "backbone.patch_embed.proj",
    "mixins.patch_embed.text_proj": "backbone.patch_embed.text_proj",
    "mixins.final_layer.norm_final": "backbone.norm_out.norm",
    "mixins.final_layer.linear": "backbone.proj_out",
    "mixins.final_layer.adaLN_modulation.1": "backbone.norm_out.linear",
    "transformer.final_layernorm": "backbone.norm_final",
    "time_embed.0": "backbone.time_embedding.linear_1",
    "time_embed.2": "backbone.time_embedding.linear_2",
}
# official name -> ours within one block; {i} is the block
_PER_BLOCK = {
    "mixins.adaln_layer.query_layernorm_list.{i}": "attn1.norm_q",
    "mixins.adaln_layer.key_layernorm_list.{i}": "attn1.norm_k",
    "transformer.layers.{i}.input_layernorm": "norm1.norm",
    "transformer.layers.{i}.post_attention_layernorm": "norm2.norm",
    "transformer.layers.{i}.attention.dense": "attn1.to_out.0",
    "transformer.layers.{i}.mlp.dense_h_to_4h": "ff.net.0.proj",
    "transformer.layers.{i}.mlp.dense_4h_to_h": "ff.net.2",
}
_POSITIONS = "mixins.pos_embed.pos_embedding"
_QKV = "transformer.layers.{i}.attention.query_key_value"
_ADALN = "mixins.adaln_layer.adaLN_modulations.{i}.1"
# Of the 12 chunks of one modulation: video shift, scale, gate then text shift, scale, gate for each of our two norms.
_ADALN_CHUNKS = {"norm1.linear": (0, 1, 2, 6, 7, 8), "norm2.linear": (3, 4, 5, 9, 10, 11)}
_LORA_MATRICES = {MOTION: ("A", "B"), CONTENT: ("C", "D")}
_BLOCK_NUMBER = re.compile(r"(?:transformer\.layers|mixins\.adaln_layer\.\w+)\.(\d+)\.")
_LORA_PARTS = {"attention.query_key_value": ("to_q", "to_k", "to_v"), "attention.dense": ("to_out.0",)}


def strip_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Network keys without their engine prefix; T5 and VAE copies are left out."""
    kept = {k: v for k, v in tensors.items() if not k.startswith(IGNORED_PREFIXES)}
    return {k.removeprefix(PREFIX): v for k, v in kept.items()}


def is_official(keys: Mapping[str, Tensor] | set[str]) -> bool:
    return any(key.removeprefix(PREFIX).startswith(("mixins.", "transformer.layers.")) for key in keys)


def from_official(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Official tensors (prefix stripped) to our network's keys, LoRA as ``content.*`` / ``motion.*``.

    Raises:
        CheckpointError: a tensor is missing or unexpected; the message names it.
    """
    source = _Taker(tensors)
    rows = config.sequence_length
    table = source.take(_POSITIONS)
    if table.ndim != 3 or table.shape[1] < rows:
        raise CheckpointError(f"{_POSITIONS} has shape {list(table.shape)}, layout {config.layout.name!r} needs at least {rows} rows")
    ours = {"position_table": table[:, :rows]}
    for theirs, our_name in _ONCE.items():
        if our_name.startswith("layer_embedder") and not config.layout.layer_embedding:
            source.drop(theirs)  # the official network of such a variant ignores it too
            continue
        ours |= {f"{our_name}.{end}": source.take(f"{theirs}.{end}") for end in ("weight", "bias")}
    for i in range(config.network.num_layers):
        ours |= _block_from_official(source, i, config)
    source.refuse_rest()
    return ours


def _block_from_official(source: _Taker, i: int, config: ModelConfig) -> dict[str, Tensor]:
    block = f"backbone.transformer_blocks.{i}"
    ours = {}
    for end in ("weight", "bias"):
        for theirs, our_name in _PER_BLOCK.items():
            ours[f"{block}.{our_name}.{end}"] = source.take_either(theirs.format(i=i), end)
        chunks = source.take(f"{_ADALN.format(i=i)}.{end}").chunk(12)
        for our_name, order in _ADALN_CHUNKS.items():
            ours[f"{block}.{our_name}.{end}"] = torch.cat([chunks[c] for c in order])
        for part, rows in zip(("to_q", "to_k", "to_v"), source.take_either(_QKV.format(i=i), end).chunk(3)):
            ours[f"{block}.attn1.{part}.{end}"] = rows
    return ours | _lora_from_official(source, i, config)


def _lora_from_official(source: _Taker, i: int, config: ModelConfig) -> dict[str, Tensor]:
    network, ours = config.network, {}
    ranks = {CONTENT: network.content_rank, MOTION: network.motion_rank}
    for key, module, matrix in _lora_keys(i):
        adapter, role = key.split(".")[0], key.rsplit(".", 1)[1]
        if not ranks[adapter]:
            continue
        if source.had(f"{module}.original.weight"):
            ours[key] = source.take(f"{module}.{matrix}")
        else:  # a plain key: no LoRA for this module
            shape = (ranks[adapter], network.hidden_size) if role == "down" else (network.hidden_size, ranks[adapter])
            ours[key] = torch.zeros(shape)
    return ours


def _lora_keys(i: int) -> Iterator[tuple[str, str, str]]:
    """(our key, official module, its matrix) of every LoRA matrix of block i."""
    for adapter, (down, up) in _LORA_MATRICES.items():
        for module, parts in _LORA_PARTS.items():
            for p, part in enumerate(parts):
                for role, matrix in (("down", down), ("up", up)):
                    ours = f"{adapter}.transformer_blocks.{i}.attn1.{part}.{role}"
                    yield ours, f"transformer.layers.{i}.{module}", f"matrix_{matrix}.{p}"


def to_official(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of ``from_official``; ``.original.`` keys exactly where LoRA stands beside them."""
    theirs = {_POSITIONS: tensors["position_table"]}
    for name, our_name in _ONCE.items():
        theirs |= {f"{name}.{end}": tensors[f"{our_name}.{end}"] for end in ("weight", "bias") if f"{our_name}.{end}" in tensors}
    for i in range(config.network.num_layers):
        block = f"backbone.transformer_blocks.{i}"
        lora = {f"{module}.{matrix}": tensors[ours] for ours, module, matrix in _lora_keys(i) if ours in tensors}
        original = ".original" if lora else ""
        for end in ("weight", "bias"):
            for name, our_name in _PER_BLOCK.items():
                mark = original if name.endswith("attention.dense") else ""
                theirs[f"{name.format(i=i)}{mark}.{end}"] = tensors[f"{block}.{our_name}.{end}"]
            chunks: list[Tensor] = [None] * 12  # type: ignore[list-item]
            for our_name, order in _ADALN_CHUNKS.items():
                for c, chunk in zip(order, tensors[f"{block}.{our_name}.{end}"].chunk(6)):
                    chunks[c] = chunk
            theirs[f"{_ADALN.format(i=i)}.{end}"] = torch.cat(chunks)
            theirs[f"{_QKV.format(i=i)}{original}.{end}"] = torch.cat([tensors[f"{block}.attn1.{p}.{end}"] for p in ("to_q", "to_k", "to_v")])
        theirs |= lora
    return {PREFIX + key: value.contiguous() for key, value in theirs.items()}


class _Taker:
    """Hands out tensors once each, so that what nobody asked for can be named at the end."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._left = dict(tensors)
        self._all = frozenset(tensors)

    def had(self, key: str) -> bool:
        return key in self._all

    def take(self, key: str) -> Tensor:
        if key not in self._left:
            raise CheckpointError(f"the official checkpoint lacks {PREFIX}{key}: the file is incomplete or of another variant")
        return self._left.pop(key)

    def take_either(self, module: str, end: str) -> Tensor:
        with_lora = f"{module}.original.{end}"
        return self.take(with_lora if with_lora in self._left else f"{module}.{end}")

    def drop(self, prefix: str) -> None:
        self._left = {k: v for k, v in self._left.items() if not k.startswith(prefix + ".")}

    def refuse_rest(self) -> None:
        if self._left:
            shown = ", ".join(sorted(self._left)[:5])
            raise CheckpointError(f"the official checkpoint has {len(self._left)} unexpected tensors ({shown}): not a LayerFlow file of this variant")


def read_config(tensors: Mapping[str, Tensor], variant: str, latent_size: tuple[int, int] = OFFICIAL_LATENT_SIZE,
                tokens_per_text: int = OFFICIAL_TOKENS_PER_TEXT) -> ModelConfig:  # fmt: skip
    """Dimensions of an official checkpoint (prefix stripped) from its shapes.

    Args:
        variant: one of the eight rows.
        latent_size: latent height and width, which no shape tells.

    Raises:
        LayoutError: unknown variant.
        CheckpointError: a tensor that tells a dimension is missing.
    """
    layout = find_layout(variant)

    def shape(key: str) -> torch.Size:
        if key not in tensors:
            raise CheckpointError(f"the official checkpoint lacks {PREFIX}{key}: the file is incomplete or no LayerFlow checkpoint")
        return tensors[key].shape

    hidden, text_width = shape("mixins.patch_embed.text_proj.weight")
    _, channels, patch, _ = shape("mixins.patch_embed.proj.weight")
    blocks = 1 + max((int(m[1]) for key in tensors if (m := _BLOCK_NUMBER.match(key))), default=-1)
    if hidden == NetworkConfig().hidden_size and blocks != NetworkConfig().num_layers:
        raise CheckpointError(f"{blocks} blocks met, a CogVideoX-2B checkpoint has {NetworkConfig().num_layers}: the file is incomplete")
    head = shape("mixins.adaln_layer.query_layernorm_list.0.weight")[0]
    network = NetworkConfig(
        num_attention_heads=hidden // head,
        attention_head_dim=head,
        num_layers=blocks,
        time_embed_dim=shape("time_embed.0.weight")[0],
        text_embed_dim=text_width,
        latent_channels=channels,
        latent_height=latent_size[0],
        latent_width=latent_size[1],
        patch_size=patch,
        tokens_per_text=tokens_per_text,
        motion_rank=_lora_rank(tensors, MOTION),
        content_rank=_lora_rank(tensors, CONTENT),
    )
    return ModelConfig(layout=layout, network=network)


def _lora_rank(tensors: Mapping[str, Tensor], adapter: str) -> int:
    down = _LORA_MATRICES[adapter][0]
    found = [t.shape[0] for key, t in tensors.items() if re.search(rf"\.matrix_{down}\.\d+$", key)]
    return found[0] if found else 0


def detect_variant(tensors: Mapping[str, Tensor], tokens_per_frame: int = 1350) -> tuple[str, ...]:
    """The rows that a checkpoint's table length and layer embedder fit; shapes alone cannot always tell tasks apart."""
    has_embedder = "mixins.pos_embed.txt_embedder.0.weight" in tensors
    if _POSITIONS not in tensors:
        return ()
    rows = tensors[_POSITIONS].shape[1]

    def fits(layout: Layout) -> bool:
        # RGB tables are built for one latent frame more than is used.
        spare = 0 if len(layout.clips) == 4 else 1
        text = len(layout.texts) * OFFICIAL_TOKENS_PER_TEXT
        return layout.layer_embedding == has_embedder and rows == text + (layout.frames + spare) * tokens_per_frame

    return tuple(name for name in OFFICIAL_VARIANTS if fits(find_layout(name)))
