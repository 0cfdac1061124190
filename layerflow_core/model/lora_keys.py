"""Keys of LoRA files, in the dialects of several trainers, to modules of the network and the roles of their tensors.

diffusers ``transformer.X.lora_A.weight``, PEFT ``base_model.model.X.lora_A.default.weight``, kohya
``lora_unet_X_with_underscores.lora_down.weight``, and what lies between. An underscored name is looked up among the
network's own modules, because it does not say which of its underscores were dots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from ..errors import CheckpointError

DOWN, UP, ALPHA, MAGNITUDE = ROLES = ("down", "up", "alpha", "magnitude")

_PREFIX = re.compile(
    r"^(?:module\.)?(?:base_model\.model\.)?(?:pipe\.)?"
    r"(?:model\.diffusion_model\.|diffusion_model\.|transformer\.|lora_transformer\.|unet\.)?"
)
# What torch.compile, FSDP and activation checkpointing put between a module's names.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_UNDERSCORED = re.compile(r"^(?:lora_(?:unet|transformer|dit)|lycoris)_+(?=\w)")
# A pattern of what follows the module's name -> the tensor's role.
_ENDINGS = (
    (re.compile(r"\.lora[._](?:A|down)(?:\.(?!weight|bias)[\w-]+)?(?:\.weight)?"), DOWN),
    (re.compile(r"\.lora[._](?:B|up)(?:\.(?!weight|bias)[\w-]+)?(?:\.weight)?"), UP),
    (re.compile(r"(?:_lora|\.lora_linear_layer)\.down\.weight"), DOWN),
    (re.compile(r"(?:_lora|\.lora_linear_layer)\.up\.weight"), UP),
    (re.compile(r"\.(?:lora_)?alpha"), ALPHA),
    (re.compile(r"\.lora_magnitude_vector(?:\.[\w-]+)?(?:\.weight)?|\.dora_scale"), MAGNITUDE),
)
# diffusers before PEFT: ``attn1.processor.to_out_lora.down.weight``.
_PROCESSOR = re.compile(r"(.+)\.processor\.to_(q|k|v|out)_lora\.(down|up)\.weight")
# Kinds of change that are more than two matrices; applying the rest of such a file would be another model.
_OTHER_KINDS = (
    ("LoHa", re.compile(r"\.hada_")),
    ("LoKr", re.compile(r"\.lokr_")),
    ("OFT", re.compile(r"\.oft_|\.boft_|\.oft_blocks")),
    ("GLoRA", re.compile(r"\.(?:a1|a2|b1|b2)\.weight$")),
    ("(IA)3", re.compile(r"\.(?:on_input|ia3_l)\b")),
    ("a matrix in the middle", re.compile(r"\.lora_mid\b")),
    ("whole weights", re.compile(r"\.(?:diff|diff_b|set_weight|reshape_weight)$")),
    ("biases", re.compile(r"\.lora[._](?:A|B|down|up)(?:\.\w+)?\.bias$")),
    ("VeRA", re.compile(r"\.vera_lambda")),
)


@dataclass
class LoraKeys:
    """What a file's keys mean.

    Args:
        modules: path in the network, or the file's own name where it has none -> role -> key.
        unused: keys that mean nothing here.
    """

    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def read_keys(keys: Iterable[str], backbone: nn.Module, path: Path) -> LoraKeys:
    """Every key of a file, by module and role.

    Args:
        path: for messages.

    Raises:
        CheckpointError: the file is another kind of change than LoRA or DoRA, or two keys mean the same.
    """
    found = LoraKeys()
    by_underscores = _underscored_names(backbone)
    for key in sorted(keys):
        _refuse_other_kinds(key, path)
        meaning = _parse(key)
        if meaning is None:
            found.unused.append(key)
            continue
        name, role = meaning
        module = _find_module(name, by_underscores, path)
        if found.modules.setdefault(module, {}).setdefault(role, key) != key:
            raise CheckpointError(
                f"{path} has {key} and {found.modules[module][role]}, which mean the same"
            )
    return found


def strip_prefix(name: str) -> str:
    """A module's name without what trainers put before it."""
    return _PREFIX.sub("", _WRAPPERS.sub("", name))


def _refuse_other_kinds(key: str, path: Path) -> None:
    for kind, pattern in _OTHER_KINDS:
        if pattern.search(key):
            raise CheckpointError(
                f"{path} holds {kind} ({ascii(key)[1:-1]}), expected plain LoRA or DoRA: two matrices for each weight"
            )


def _parse(key: str) -> tuple[str, str] | None:
    """The module's name as it stands in the file, and the role."""
    if match := _PROCESSOR.fullmatch(key):
        leaf = "to_out.0" if match[2] == "out" else f"to_{match[2]}"
        return f"{match[1]}.{leaf}", match[3]
    for ending, role in _ENDINGS:
        for match in ending.finditer(key):
            if match.end() == len(key) and match.start():
                return key[: match.start()], role
    return None


def _find_module(name: str, by_underscores: dict[str, list[str]], path: Path) -> str:
    """The module's path; the file's own name where the network has none."""
    if "." in name or not _UNDERSCORED.match(name):
        return strip_prefix(name)
    bare = _UNDERSCORED.sub("", name)
    candidates = by_underscores.get(bare, [])
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path} names {ascii(name)[1:-1]}, which could be {' or '.join(candidates)}"
        )
    return candidates[0] if candidates else bare


def _underscored_names(backbone: nn.Module) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in module_paths(backbone):
        names.setdefault(path.replace(".", "_"), []).append(path)
    return names


def module_paths(backbone: nn.Module) -> list[str]:
    """Modules with a matrix of weights, by their paths without our own LoRA."""
    paths = []
    for path, module in backbone.named_modules():
        weight = getattr(getattr(module, "base_layer", module), "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2 and ".lora_" not in path:
            paths.append(path.removesuffix(".base_layer"))
    return sorted(set(paths))
