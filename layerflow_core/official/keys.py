"""Official key layout <-> ours.

Source: the official release (SwissArmyTransformer layout) as it is read by its own loader. Keys with ``.original.``
carry LoRA beside them; plain keys mean "no LoRA for this module". Both are read, both can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import CheckpointError
from ..model.lora import CONTENT, MOTION
from ..weights.tensor_file import Chunk, TensorSource

PREFIX = "model.diffusion_model."
IGNORED_PREFIXES = (
    "conditioner.",
    "first_stage_model.",
)  # T5 and VAE copies that a training run may have saved

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
POSITIONS = "mixins.pos_embed.pos_embedding"
_QKV = "transformer.layers.{i}.attention.query_key_value"
_ADALN = "mixins.adaln_layer.adaLN_modulations.{i}.1"
# Of the 12 chunks of one modulation: video shift, scale, gate then text shift, scale, gate for each of our two norms.
_ADALN_CHUNKS = {"norm1.linear": (0, 1, 2, 6, 7, 8), "norm2.linear": (3, 4, 5, 9, 10, 11)}
LORA_MATRICES = {MOTION: ("A", "B"), CONTENT: ("C", "D")}
_LORA_PARTS = {
    "attention.query_key_value": ("to_q", "to_k", "to_v"),
    "attention.dense": ("to_out.0",),
}


def network_keys(keys: Iterable[str]) -> dict[str, str]:
    """Network keys without their engine prefix -> the keys in the file; T5 and VAE copies are left out."""
    return {key.removeprefix(PREFIX): key for key in keys if not key.startswith(IGNORED_PREFIXES)}


def is_official(keys: Iterable[str]) -> bool:
    return any(
        key.removeprefix(PREFIX).startswith(("mixins.", "transformer.layers.")) for key in keys
    )


def from_official(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Official tensors (prefix stripped) to our network's keys, LoRA as ``content.*`` / ``motion.*``.

    Raises:
        CheckpointError: a tensor is missing or unexpected; the message names it.
    """
    source = StrictReader(tensors)
    ours = {}
    for group in official_groups(config):
        ours |= group(source)
    source.refuse_rest()
    return ours


Group = Callable[["StrictReader"], dict[str, Tensor]]


def official_groups(config: ModelConfig) -> list[Group]:
    """What ``from_official`` does, in pieces that each need a small part of the file: what stands
    once, then every block.
    """
    return [
        partial(_once_from_official, config=config),
        *(
            partial(_block_from_official, i=i, config=config)
            for i in range(config.network.num_layers)
        ),
    ]


def official_chunks(file: TensorSource, config: ModelConfig) -> list[Chunk]:
    """The same for a file, a chunk for each group; raises as ``from_official`` does, before any tensor is read."""
    source = StrictReader(file.specs)
    chunks = []
    for group in official_groups(config):
        before = source.left
        group(source)
        keys = sorted(before - source.left)
        chunks.append(Chunk(file, keys, lambda tensors, group=group: group(StrictReader(tensors))))
    source.refuse_rest()
    return chunks


def _once_from_official(source: StrictReader, config: ModelConfig) -> dict[str, Tensor]:
    rows = config.sequence_length
    table = source.take(POSITIONS)
    if table.ndim != 3 or table.shape[1] < rows:
        raise CheckpointError(
            f"{POSITIONS} has shape {list(table.shape)}, layout {config.layout.name!r} needs at least {rows} rows"
        )
    ours = {"position_table": table[:, :rows]}
    for theirs, our_name in _ONCE.items():
        if our_name.startswith("layer_embedder") and not config.layout.layer_embedding:
            source.drop(theirs)  # the official network of such a variant ignores it too
            continue
        ours |= {f"{our_name}.{end}": source.take(f"{theirs}.{end}") for end in ("weight", "bias")}
    return ours


def _block_from_official(source: StrictReader, i: int, config: ModelConfig) -> dict[str, Tensor]:
    block = f"backbone.transformer_blocks.{i}"
    ours = {}
    for end in ("weight", "bias"):
        for theirs, our_name in _PER_BLOCK.items():
            ours[f"{block}.{our_name}.{end}"] = source.take_either(theirs.format(i=i), end)
        chunks = _split(source, [f"{_ADALN.format(i=i)}.{end}"], 12)
        for our_name, order in _ADALN_CHUNKS.items():
            ours[f"{block}.{our_name}.{end}"] = torch.cat([chunks[c] for c in order])
        qkv = _QKV.format(i=i)
        for part, rows in zip(
            ("to_q", "to_k", "to_v"), _split(source, [f"{qkv}.original.{end}", f"{qkv}.{end}"], 3)
        ):
            ours[f"{block}.attn1.{part}.{end}"] = rows
    return ours | _lora_from_official(source, i, config)


def _split(source: StrictReader, names: list[str], parts: int) -> tuple[Tensor, ...]:
    """A tensor, by the first of its names that is there, in equal parts of its rows."""
    key = next((name for name in names if source.has(name)), names[-1])
    tensor = source.take(key)
    if tensor.ndim < 1 or not tensor.shape[0] or tensor.shape[0] % parts:
        raise CheckpointError(
            f"{PREFIX}{key} has shape {list(tensor.shape)}, expected rows that {parts} divides: the file is damaged"
        )
    return tensor.chunk(parts)


def _lora_from_official(source: StrictReader, i: int, config: ModelConfig) -> dict[str, Tensor]:
    ranks = {CONTENT: config.network.content_rank, MOTION: config.network.motion_rank}
    # A plain key says that this module has no LoRA.
    return {
        key: source.take(f"{module}.{matrix}")
        for key, module, matrix in _lora_keys(i)
        if ranks[key.split(".")[0]] and source.had(f"{module}.original.weight")
    }


def lora_matrices(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """(our key, official key) of every LoRA matrix that a checkpoint may have."""
    for i in range(config.network.num_layers):
        for ours, module, matrix in _lora_keys(i):
            yield ours, f"{module}.{matrix}"


def _lora_keys(i: int) -> Iterator[tuple[str, str, str]]:
    """(our key, official module, its matrix) of every LoRA matrix of block i."""
    for adapter, (down, up) in LORA_MATRICES.items():
        for module, parts in _LORA_PARTS.items():
            for p, part in enumerate(parts):
                for role, matrix in (("down", down), ("up", up)):
                    ours = f"{adapter}.transformer_blocks.{i}.attn1.{part}.{role}"
                    yield ours, f"transformer.layers.{i}.{module}", f"matrix_{matrix}.{p}"


def to_official(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of ``from_official``; ``.original.`` keys exactly where LoRA stands beside them."""
    theirs = {POSITIONS: tensors["position_table"]}
    for name, our_name in _ONCE.items():
        theirs |= {
            f"{name}.{end}": tensors[f"{our_name}.{end}"]
            for end in ("weight", "bias")
            if f"{our_name}.{end}" in tensors
        }
    for i in range(config.network.num_layers):
        block = f"backbone.transformer_blocks.{i}"
        lora = {
            f"{module}.{matrix}": tensors[ours]
            for ours, module, matrix in _lora_keys(i)
            if ours in tensors
        }
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
            theirs[f"{_QKV.format(i=i)}{original}.{end}"] = torch.cat(
                [tensors[f"{block}.attn1.{p}.{end}"] for p in ("to_q", "to_k", "to_v")]
            )
        theirs |= lora
    return {PREFIX + key: value.contiguous() for key, value in theirs.items()}


class StrictReader:
    """Hands out tensors once each, so that what nobody asked for can be named at the end."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._left = dict(tensors)
        self._all = frozenset(tensors)

    @property
    def left(self) -> set[str]:
        return set(self._left)

    def had(self, key: str) -> bool:
        return key in self._all

    def has(self, key: str) -> bool:
        return key in self._left

    def take(self, key: str) -> Tensor:
        if key not in self._left:
            raise CheckpointError(
                f"the official checkpoint lacks {PREFIX}{key}: the file is incomplete or of another variant"
            )
        return self._left.pop(key)

    def take_either(self, module: str, end: str) -> Tensor:
        with_lora = f"{module}.original.{end}"
        return self.take(with_lora if with_lora in self._left else f"{module}.{end}")

    def drop(self, prefix: str) -> None:
        self._left = {k: v for k, v in self._left.items() if not k.startswith(prefix + ".")}

    def refuse_rest(self) -> None:
        if self._left:
            shown = ", ".join(sorted(self._left)[:5])
            raise CheckpointError(
                f"the official checkpoint has {len(self._left)} unexpected tensors ({shown}): "
                "not a LayerFlow file of this variant"
            )
