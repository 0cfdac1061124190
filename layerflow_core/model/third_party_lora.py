"""LoRA and DoRA made for CogVideoX by other trainers, added to the weights; ``lora_keys`` knows their dialects."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval, Len
from torch import Tensor, nn

from ..errors import CheckpointError
from ..plain_data import Name, as_record, parse_json
from ..weights.tensor_file import SafetensorsFile
from .attention import split_qkv
from .fp8 import FP8, to_fp8
from .loading import AppliedLora, LayerFlowModel
from .lora_file import share_weights, with_network
from .lora_keys import ALPHA, DOWN, MAGNITUDE, UP, read_keys, strip_prefix

_METADATA = "lora_adapter_metadata"  # diffusers', JSON
_SHOWN = 5
_LARGEST_ALPHA = 1e6
_Alpha = Annotated[float, Interval(ge=-_LARGEST_ALPHA, le=_LARGEST_ALPHA)]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delta:
    """What a LoRA adds to one weight: ``scale * up @ down``, [rows, r] @ [r, columns].

    Args:
        magnitude: of a DoRA (arXiv 2402.09353), [rows]: the length that each row of the sum is given. None: plain LoRA.
    """

    down: Tensor
    up: Tensor
    scale: float
    magnitude: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    def added_to(self, weight: Tensor, strength: float) -> Tensor:
        """The changed weight [rows, columns], float32; a strength between 0 and 1 lies between it and the given one."""
        weight = weight.float()
        change = self.scale * (self.up.float() @ self.down.float()).to(weight.device)
        if self.magnitude is not None:
            changed = weight + change
            lengths = changed.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
            change = self.magnitude.float().to(weight.device)[:, None] / lengths * changed - weight
        return weight + strength * change


@dataclass(frozen=True)
class LoraMetadata:
    """Fields of PEFT's ``LoraConfig`` that change what a LoRA adds."""

    lora_alpha: _Alpha | None = None
    alpha_pattern: Annotated[dict[Name, _Alpha], Len(0, 10_000)] = field(default_factory=dict)
    use_rslora: bool = False


def add_third_party_lora(
    model: LayerFlowModel, path: Path, strength: float = 1.0
) -> LayerFlowModel:
    """A model with a LoRA added to its weights where both fit; other weights are shared with the one that was given.

    What does not fit or is not used is named in the log.

    Raises:
        CheckpointError: no LoRA, another kind of change, damaged, or nothing of it fits.
    """
    network = share_weights(model.network)
    split_qkv(network.backbone)
    deltas, unused = read_deltas(path, network.backbone)
    misfits = {
        name: misfit
        for name, delta in deltas.items()
        if (misfit := _misfit(network.backbone, name, delta))
    }
    named = f"{len(misfits)} of its parts do not fit this network ({_some(misfits.values())})"
    if len(misfits) == len(deltas):
        raise CheckpointError(f"{path} cannot be used: {named}; expected a LoRA of CogVideoX-2B")
    if misfits:
        _log.warning("%s: %s", path.name, named)
    if unused:
        _log.warning(
            "%s: %d of its tensors are not used (%s)", path.name, len(unused), _some(unused)
        )
    for name, delta in deltas.items():
        if name not in misfits:
            _change(network.backbone, name, delta, strength)
    changed = with_network(model, network, path, strength)
    changed.loras = (*model.loras, AppliedLora.of(path, strength))
    return changed


def read_deltas(path: Path, backbone: nn.Module) -> tuple[dict[str, Delta], list[str]]:
    """What a file adds, by the path of the module, and keys that are not used.

    Raises:
        CheckpointError: the file is no LoRA, or damaged.
    """
    file = SafetensorsFile(path)
    keys = read_keys(file.specs, backbone, path)
    modules = {name: roles for name, roles in keys.modules.items() if DOWN in roles or UP in roles}
    strays = []
    for name, roles in keys.modules.items():
        if name not in modules:
            strays += roles.values()
    if not modules:
        raise CheckpointError(
            f"{path} has no LoRA matrices (got {sorted(file.specs)[:3]}); "
            "expected keys that end in lora_A.weight and lora_B.weight"
        )
    metadata = _read_metadata(file.metadata, path)
    deltas = {}
    for name, roles in modules.items():
        if DOWN not in roles or UP not in roles:
            raise CheckpointError(
                f"{path} has only one of two matrices for {name}: the file is incomplete"
            )
        found = file.read(list(roles.values()))
        deltas[name] = _make_delta(
            name, {role: found[key] for role, key in roles.items()}, metadata, path
        )
    return deltas, [*keys.unused, *strays]


def _make_delta(
    name: str, tensors: Mapping[str, Tensor], metadata: LoraMetadata, path: Path
) -> Delta:
    _check_finite(name, tensors, path)
    down = _as_matrix(tensors[DOWN])
    up = _as_matrix(tensors[UP])
    fits = down is not None and up is not None and down.shape[0] == up.shape[1] > 0
    if not fits:
        shapes = f"{list(tensors[DOWN].shape)} and {list(tensors[UP].shape)}"
        raise CheckpointError(
            f"{path}: the matrices of {name} are {shapes}, expected [rank, columns] and [rows, rank]"
        )
    rank = down.shape[0]
    divisor = math.sqrt(rank) if metadata.use_rslora else rank
    scale = _find_alpha(name, tensors, metadata, rank, path) / divisor
    return Delta(down, up, scale, _read_magnitude(name, tensors, up.shape[0], path))


def _check_finite(name: str, tensors: Mapping[str, Tensor], path: Path) -> None:
    """One infinity or NaN in a file would make every image black."""
    wrong = [role for role, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]
    if wrong:
        raise CheckpointError(
            f"{path}: {wrong[0]} of {name} holds values that are no finite numbers: the file is damaged"
        )


def _as_matrix(tensor: Tensor) -> Tensor | None:
    """Some trainers write linear layers as convolutions of one pixel."""
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor[:, :, 0, 0]
    return tensor if tensor.ndim == 2 and tensor.is_floating_point() else None


def _find_alpha(
    name: str, tensors: Mapping[str, Tensor], metadata: LoraMetadata, rank: int, path: Path
) -> float:
    """From a tensor beside the matrices, the file's metadata, or the rank."""
    if ALPHA in tensors:
        return _read_number(tensors[ALPHA], f"{path}: alpha of {name}")
    for pattern, alpha in metadata.alpha_pattern.items():
        stated = strip_prefix(pattern)
        if name == stated or name.endswith(f".{stated}"):
            return alpha
    return rank if metadata.lora_alpha is None else metadata.lora_alpha


def _read_number(tensor: Tensor, what: str) -> float:
    value = float(tensor) if tensor.numel() == 1 else math.nan
    if not abs(value) <= _LARGEST_ALPHA:  # nan, too
        raise CheckpointError(
            f"{what} is {value:g} in the shape {list(tensor.shape)}, expected one number of "
            f"{_LARGEST_ALPHA:g} at most: "
            "the file is damaged"
        )
    return value


def _read_magnitude(
    name: str, tensors: Mapping[str, Tensor], rows: int, path: Path
) -> Tensor | None:
    if MAGNITUDE not in tensors:
        return None
    magnitude = tensors[MAGNITUDE]
    if magnitude.numel() != rows or magnitude.shape[0] != rows or not magnitude.is_floating_point():
        raise CheckpointError(
            f"{path}: DoRA's magnitudes of {name} are {list(magnitude.shape)}, expected {rows}, one for each row"
        )
    return magnitude.flatten()


def _read_metadata(metadata: Mapping[str, str], path: Path) -> LoraMetadata:
    source = f"{path}: {_METADATA}"
    data = parse_json(metadata.get(_METADATA, "{}"), source, CheckpointError)
    if not isinstance(data, dict):
        raise CheckpointError(f"{source}: got {type(data).__name__}, expected an object")
    stated: dict[str, Any] = {
        strip_prefix(key): value for key, value in data.items() if value is not None
    }
    return as_record(LoraMetadata, stated, source, CheckpointError)


def _misfit(backbone: nn.Module, name: str, delta: Delta) -> str | None:
    """Why a change cannot be made, None where it can."""
    weight = _weight(backbone, name)
    if weight is None:
        return f"{name} is not there"
    if tuple(weight.shape) != delta.shape:
        return f"{name} is {list(weight.shape)}, the LoRA's is {list(delta.shape)}"
    return None


def _change(backbone: nn.Module, name: str, delta: Delta, strength: float) -> None:
    owner = _owner(backbone, name)
    changed = delta.added_to(owner.weight, strength)
    changed = to_fp8(changed) if owner.weight.dtype == FP8 else changed.to(owner.weight.dtype)
    owner.weight = nn.Parameter(changed, requires_grad=False)


def _some(texts: Iterable[str]) -> str:
    texts = list(texts)
    more = "; ..." if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _owner(backbone: nn.Module, name: str) -> nn.Module | None:
    """The module that holds the weight itself, beneath LoRA of our own."""
    try:
        module = backbone.get_submodule(name)
    except AttributeError:
        return None
    return getattr(module, "base_layer", module)


def _weight(backbone: nn.Module, name: str) -> torch.Tensor | None:
    weight = getattr(_owner(backbone, name), "weight", None)
    return weight if isinstance(weight, Tensor) and weight.ndim == 2 else None
