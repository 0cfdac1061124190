"""Content and motion LoRA as PEFT adapters on the attention projections (paper section 3.2).

Content teaches the layers and is always on; motion belongs to training on still images and is off at inference.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ..errors import CheckpointError
from .fp8 import FP8, to_fp8

CONTENT, MOTION = ADAPTERS = ("content", "motion")
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
DEFAULT_STRENGTHS = {CONTENT: 1.0, MOTION: 0.0}
_ROLES = {"A": "down", "B": "up"}
_MATRIX = re.compile(r"(?:backbone\.)?(.+)\.lora_([AB])\.(\w+)\.weight")


def add_adapter(backbone: nn.Module, name: str, rank: int, paths: Sequence[str] = TARGETS) -> None:
    """Put an untrained adapter on attention projections; scale 1/rank as in the official code (lora_alpha 1).

    Args:
        paths: of the projections; by default all.

    Raises:
        CheckpointError: there is no such projection.
    """
    from peft import LoraConfig, inject_adapter_in_model

    unknown = [path for path in paths if paths is not TARGETS and not is_projection(backbone, path)]
    if unknown:
        raise CheckpointError(
            f"got a {name} LoRA on {len(unknown)} modules that are not there ({ascii(unknown[0])[1:-1]}), "
            "expected attention projections of this network"
        )
    config = LoraConfig(r=rank, lora_alpha=1, target_modules=list(paths))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Already found a `peft_config`"
        )  # two adapters are meant
        inject_adapter_in_model(config, backbone, adapter_name=name)


def is_projection(backbone: nn.Module, path: str) -> bool:
    """Whether this is the path of a module that an adapter can be put on."""
    try:
        module = backbone.get_submodule(path)
    except AttributeError:
        return False
    return isinstance(getattr(module, "base_layer", module), nn.Linear)


def adapted_layers(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, PEFT layer) of every adapted projection; nothing if there is no adapter."""
    return (
        (path, module) for path, module in backbone.named_modules() if hasattr(module, "lora_A")
    )


def adapter_names(backbone: nn.Module) -> tuple[str, ...]:
    found = {name for _, layer in adapted_layers(backbone) for name in layer.lora_A}
    return tuple(name for name in ADAPTERS if name in found)


def set_strengths(backbone: nn.Module, strengths: dict[str, float]) -> None:
    """Set how strongly each adapter acts; one of strength 0 is not computed at all.

    Args:
        strengths: by adapter name; 1 is as trained. Adapters not named get their default.

    Raises:
        CheckpointError: a strength other than 0 is asked of an adapter that the checkpoint does not have.
    """
    present = adapter_names(backbone)
    if wrong := [name for name, strength in strengths.items() if not math.isfinite(strength)]:
        raise CheckpointError(
            f"got strength {strengths[wrong[0]]} for LoRA {wrong}, expected a finite number"
        )
    if missing := [
        name
        for name, strength in strengths.items()
        if strength and name not in present and name != CONTENT
    ]:
        raise CheckpointError(
            f"got strength for LoRA {missing}, this checkpoint has {list(present) or 'none'}"
        )
    wanted = {name: strengths.get(name, DEFAULT_STRENGTHS[name]) for name in present}
    for _, layer in adapted_layers(backbone):
        layer.set_adapter([name for name, strength in wanted.items() if strength])
        for name, strength in wanted.items():
            layer.set_scale(name, strength)


@contextmanager
def motion_per_sample(backbone: nn.Module, strengths: Tensor) -> Iterator[None]:
    """Inside this context the motion adapter acts on each sample of the batch with a strength of its own.

    Training mixes still images (1) with videos (0) in one batch (paper section 3.2). Strengths multiply what
    ``set_strengths`` has set; without a motion adapter there is nothing to do. The context must hold until the
    backward pass is done where activations are computed again there.

    Args:
        strengths: [B].
    """
    weights = strengths.view(-1, 1, 1)

    def weigh(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return output * weights.to(output)

    hooks = [
        layer.lora_B[MOTION].register_forward_hook(weigh)
        for _, layer in adapted_layers(backbone)
        if MOTION in layer.lora_B
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def merge(backbone: nn.Module) -> None:
    """Add the active adapters to the weights at their strengths, in float32, and take the adapters off.

    Weights that other networks share stay as they are: this one gets new ones.
    """
    for path, layer in list(adapted_layers(backbone)):
        base = layer.get_base_layer()
        active = list(layer.active_adapters)
        if active:
            change = sum(
                layer.scaling[name]
                * (layer.lora_B[name].weight.float() @ layer.lora_A[name].weight.float())
                for name in active
            )
            merged = base.weight.float() + change
            base.weight = nn.Parameter(
                to_fp8(merged) if base.weight.dtype == FP8 else merged.to(base.weight.dtype),
                requires_grad=False,
            )
        parent, _, leaf = path.rpartition(".")
        setattr(backbone.get_submodule(parent), leaf, base)


def adapter_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """Adapter weights by our file's keys: ``{adapter}.{projection path}.{down|up}``."""
    return {key: matrix.weight for key, matrix in adapter_matrices(backbone)}


def adapter_matrices(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(key in our files, linear layer) of every matrix of every adapter."""
    for path, layer in adapted_layers(backbone):
        for name in layer.lora_A:
            yield f"{name}.{path}.down", layer.lora_A[name]
            yield f"{name}.{path}.up", layer.lora_B[name]


def file_key(key: str) -> str:
    """The key in our files for one of a network's state dict, adapted or not."""
    if found := _MATRIX.fullmatch(key):
        path, matrix, adapter = found.groups()
        return f"{adapter}.{path}.{_ROLES[matrix]}"
    return key.replace(".base_layer.", ".")


def adapter_paths(keys: Iterable[str], name: str) -> list[str]:
    """The projections that an adapter's keys in our files speak of."""
    return sorted(
        {
            key.removeprefix(f"{name}.").rpartition(".")[0]
            for key in keys
            if key.startswith(f"{name}.")
        }
    )
