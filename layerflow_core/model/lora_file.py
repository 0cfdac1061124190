"""One LoRA in a file of its own: safetensors, ``{adapter}.{projection path}.{down|up}``, what it
fits in the metadata.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval
from torch import Tensor

from ..errors import CheckpointError
from ..plain_data import Count, parse_record
from ..weights.checkpoint import describe_file, load_strictly
from ..weights.tensor_file import SafetensorsFile, read_tensors, write_tensors
from .attention import split_qkv
from .fp8 import FP8
from .loading import AppliedLora, LayerFlowModel
from .lora import (
    CONTENT,
    MOTION,
    adapted_layers,
    adapter_matrices,
    adapter_names,
    adapter_tensors,
    add_adapter,
)
from .network import LayerFlowNetwork

LORA_KEY = "layerflow_lora"
_FORMAT = 1


@dataclass(frozen=True)
class LoraFacts:
    """What a file says of itself, see ``LoraFile``."""

    format: Literal[1]
    adapter: Literal["content", "motion"]
    rank: Annotated[int, Interval(ge=1, le=65536)]
    hidden_size: Count
    blocks: Count


@dataclass(frozen=True)
class LoraFile:
    """What a file holds.

    Args:
        adapter: content or motion.
        hidden_size, blocks: of the networks it fits.
        tensors: by projection path and role, ``transformer_blocks.5.attn1.to_q.down``.
    """

    adapter: str
    rank: int
    hidden_size: int
    blocks: int
    tensors: dict[str, Tensor]

    @property
    def paths(self) -> list[str]:
        return sorted({key.rpartition(".")[0] for key in self.tensors})


def write_lora(path: Path, network: LayerFlowNetwork, adapter: str) -> None:
    """Write an adapter of a network, atomically; projections that it does not change are left out.

    Raises:
        CheckpointError: the network has no such adapter, or it changes nothing.
    """
    layers = {
        p: layer
        for p, layer in adapted_layers(network.backbone)
        if adapter in layer.lora_A and layer.lora_B[adapter].weight.any()
    }
    if not layers:
        raise CheckpointError(
            f"this network has no trained {adapter} LoRA; nothing to write to {path}"
        )
    rank = next(iter(layers.values())).r[adapter]
    config = network.config.network
    facts = {
        "format": _FORMAT,
        "adapter": adapter,
        "rank": rank,
        "hidden_size": config.hidden_size,
        "blocks": config.num_layers,
    }
    wanted = {f"{adapter}.{layer}.{role}" for layer in layers for role in ("down", "up")}
    kept = {key: value for key, value in adapter_tensors(network.backbone).items() if key in wanted}
    write_tensors(path, kept, {LORA_KEY: json.dumps(facts)})


def read_lora(path: Path) -> LoraFile:
    """Raises CheckpointError if this is no LoRA of this pack, or damaged."""
    tensors, metadata = read_tensors(path)
    if LORA_KEY not in metadata:
        raise CheckpointError(
            f"{path} is no LoRA of this pack; expected a file that `layerflow train` wrote"
        )
    facts = parse_record(
        LoraFacts, metadata[LORA_KEY], f"{path}, which is no LoRA of this pack", CheckpointError
    )
    prefix = facts.adapter + "."
    stripped = {key.removeprefix(prefix): value for key, value in tensors.items()}
    _check_shapes(stripped, facts, path)
    return LoraFile(facts.adapter, facts.rank, facts.hidden_size, facts.blocks, stripped)


def _check_shapes(tensors: dict[str, Tensor], facts: LoraFacts, path: Path) -> None:
    """The rank decides what is built, so the matrices must agree with it."""
    for key, value in tensors.items():
        role = key.rpartition(".")[2]
        side = {"down": 0, "up": 1}.get(role)
        if side is None:
            raise CheckpointError(
                f"{path} has {ascii(key)}, expected keys that end in down and up: not a LoRA of this pack"
            )
        if value.ndim != 2 or value.shape[side] != facts.rank:
            raise CheckpointError(
                f"{path}: {key} is {list(value.shape)}, expected a matrix of rank {facts.rank}: the file is damaged"
            )


def is_own_lora(path: Path) -> bool:
    """Whether ``read_lora`` is for it; raises CheckpointError if it is no safetensors file."""
    return LORA_KEY in SafetensorsFile(path).metadata


def attach_lora(
    model: LayerFlowModel, paths: Iterable[Path], content: float = 1.0, motion: float = 0.0
) -> LayerFlowModel:
    """A model with LoRA on top; its weights are shared with the one that was given, which stays as it is.

    Raises:
        CheckpointError: a LoRA does not fit, or the model already has one of its kind.
    """
    network = share_weights(model.network)
    split_qkv(network.backbone)
    strengths = {CONTENT: content, MOTION: motion}
    applied = []
    for path in paths:
        lora = read_lora(path)
        add_lora(network, lora, path)
        applied.append((path, strengths[lora.adapter]))
    attached = with_network(model, network, *(path for path, _ in applied))
    attached.loras = (*model.loras, *(AppliedLora.of(path, strength) for path, strength in applied))
    attached.set_strengths(content, motion)
    return attached


def add_lora(network: LayerFlowNetwork, lora: LoraFile, source: Path) -> None:
    """Put a LoRA onto a network in place; raises CheckpointError if it does not fit."""
    config = network.config.network
    got = (lora.hidden_size, lora.blocks)
    expected = (config.hidden_size, config.num_layers)
    if got != expected:
        raise CheckpointError(
            f"{source} fits networks of width {got[0]} and {got[1]} blocks, this one has "
            f"{expected[0]} and {expected[1]}"
        )
    if lora.adapter in adapter_names(network.backbone):
        raise CheckpointError(
            f"{source} is a {lora.adapter} LoRA and the model already has one; load the model without it"
        )
    add_adapter(network.backbone, lora.adapter, lora.rank, lora.paths)
    for key, matrix in adapter_matrices(network.backbone):
        adapter, _, name = key.partition(".")
        if adapter == lora.adapter:
            if matrix.weight.dtype == FP8:  # PEFT takes over the dtype of the weight beneath
                matrix.to(network.position_table.dtype)
            if name not in lora.tensors:
                raise CheckpointError(f"{source} lacks LoRA tensor {key}: the file is incomplete")
            load_strictly(matrix, {"weight": lora.tensors[name].float()}, f"LoRA {key}")


def share_weights(network: LayerFlowNetwork) -> LayerFlowNetwork:
    """A second network of the same tensors, so that adapters on it do not touch the first."""
    tensors = (*network.parameters(), *network.buffers())
    return copy.deepcopy(network, {id(t): t for t in tensors})


def with_network(
    model: LayerFlowModel, network: LayerFlowNetwork, *made_of: Path | float | str
) -> LayerFlowModel:
    """The model with another network, ready for inference.

    Args:
        made_of: LoRA files, strengths, and whatever else went into it.
    """
    made = [describe_file(part) if isinstance(part, Path) else str(part) for part in made_of]
    return replace(
        model,
        network=network.eval().requires_grad_(False).fold(),
        provenance=(*model.provenance, *made) if model.provenance else (),
        peaks={},
    )
