"""LoRA made for CogVideoX by other trainers, in diffusers', PEFT's or kohya's keys, added to the weights."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .attention import split_qkv
from .fp8 import FP8, to_fp8
from .loading import AppliedLora, LayerFlowModel
from .lora_file import share_weights, with_network
from .tensor_file import SafetensorsFile

_PREFIXES = re.compile(r"^(?:base_model\.model\.)?(?:transformer\.|diffusion_model\.)?")
_MATRIX = re.compile(r"(.+?)\.lora[._](A|B|down|up)(?:\.\w+)?\.weight")
_ROLES = {"A": "down", "B": "up"}
_ALPHA = ".alpha"
_METADATA = "lora_adapter_metadata"  # diffusers', JSON
_SHOWN = 5


@dataclass(frozen=True)
class Delta:
    """What a LoRA adds to one weight: ``scale * up @ down``, [rows, r] @ [r, columns]."""

    down: Tensor
    up: Tensor
    scale: float


def add_plain_lora(model: LayerFlowModel, path: Path, strength: float = 1.0) -> LayerFlowModel:
    """A model with a LoRA added to its weights where both fit; other weights are shared with the one that was given.

    What does not fit is named in the log.

    Raises:
        CheckpointError: no LoRA, or nothing of it fits.
    """
    network = share_weights(model.network)
    split_qkv(network.backbone)
    fitting, misfits = {}, []
    for name, delta in read_deltas(path).items():
        weight = _weight(network.backbone, name)
        shape = (delta.up.shape[0], delta.down.shape[1])
        if weight is None:
            misfits.append(f"{name} is not there")
        elif tuple(weight.shape) != shape:
            misfits.append(f"{name} is {list(weight.shape)}, the LoRA's is {list(shape)}")
        else:
            fitting[name] = delta
    named = f"{len(misfits)} of its parts do not fit this network ({'; '.join(misfits[:_SHOWN])}{'; ...' if len(misfits) > _SHOWN else ''})"
    if not fitting:
        raise CheckpointError(f"{path} cannot be used: {named}; expected a LoRA of CogVideoX-2B")
    if misfits:
        logging.getLogger(__name__).warning("%s: %s", path.name, named)
    for name, delta in fitting.items():
        weight = _weight(network.backbone, name)
        change = strength * delta.scale * (delta.up.float() @ delta.down.float())
        changed = weight.float() + change.to(weight.device)
        changed = to_fp8(changed) if weight.dtype == FP8 else changed.to(weight.dtype)
        _owner(network.backbone, name).weight = nn.Parameter(changed, requires_grad=False)
    changed_model = with_network(model, network, path, strength)
    changed_model.loras = (*model.loras, AppliedLora.of(path, strength))
    return changed_model


def read_deltas(path: Path) -> dict[str, Delta]:
    """By the name of the module whose weight they change; raises CheckpointError if the file is no LoRA."""
    file = SafetensorsFile(path)
    tensors = {_PREFIXES.sub("", key): value for key, value in file.read(file.specs).items()}
    matrices: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if found := _MATRIX.fullmatch(key):
            matrices.setdefault(found[1], {})[_ROLES.get(found[2], found[2])] = value
    if not matrices:
        raise CheckpointError(f"{path} has no LoRA matrices (met {sorted(tensors)[:3]}); expected keys that end in lora_A.weight and lora_B.weight")
    if halves := [name for name, pair in matrices.items() if len(pair) != 2]:
        raise CheckpointError(f"{path} has only one of two matrices for {halves[0]}: the file is incomplete")
    ranks = dict(_alphas(file.metadata, tensors, matrices))
    return {name: Delta(pair["down"], pair["up"], ranks[name]) for name, pair in matrices.items()}


def _alphas(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], matrices: Mapping[str, Mapping[str, Tensor]]) -> Iterator[tuple[str, float]]:
    """The factor alpha / rank of each part: from a tensor beside it, diffusers' metadata, or 1."""
    stated: dict[str, Any] = json.loads(metadata.get(_METADATA, "{}"))
    stated = {_PREFIXES.sub("", key): value for key, value in stated.items()}
    patterns: Mapping[str, float] = stated.get("alpha_pattern") or {}
    for name, pair in matrices.items():
        rank = pair["down"].shape[0]
        own = tensors.get(name + _ALPHA)
        alpha = float(own) if own is not None else patterns.get(name, stated.get("lora_alpha", rank))
        yield name, alpha / rank


def _owner(backbone: nn.Module, name: str) -> nn.Module | None:
    """The module that holds the weight itself, beneath LoRA of our own."""
    try:
        module = backbone.get_submodule(name)
    except AttributeError:
        return None
    return getattr(module, "base_layer", module)


def _weight(backbone: nn.Module, name: str) -> torch.Tensor | None:
    weight = getattr(_owner(backbone, name), "weight", None)
    return weight if weight is not None and weight.ndim == 2 else None
