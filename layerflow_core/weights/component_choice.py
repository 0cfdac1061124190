"""Which of several files is CogVideoX-2B's text encoder or VAE.

Shapes tell most other models apart; T5 v1.1 XXL and Flan-T5 XXL, or the VAEs of CogVideoX 2B, 5B and 1.5, have the same
ones, so names and configs count too. What is in doubt is not taken but named.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import NetworkConfig
from ..errors import CheckpointError, MissingPartError
from .components import SCALING_FACTOR, Part, read_text_encoder, read_vae

_log = logging.getLogger(__name__)

_T5_V1_1 = {"vocab_size": 32128, "feed_forward_proj": "gated-gelu"}
_T5_V1_1_XXL = {
    **_T5_V1_1,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
}
# Of the same model the more exact file is taken; what no pattern fits goes between.
_PRECISIONS = (
    r"fp16|f16|bf16",
    r"fp32|f32",
    r"scaled|q8",
    r"fp8|e4m3|e5m2|q[4-7]|int8",
    r"q[1-3]",
)
_UNSAID = 2
_SHOWN = 6


@dataclass(frozen=True)
class PartKind:
    """A part of CogVideoX-2B that is kept apart from the network.

    Args:
        name: for messages.
        folder: ComfyUI's name of the folder of single files.
        part: its folder within a diffusers one.
        wanted: names of single files that are taken without being asked for.
        foreign: names of other models, whose shapes may be the same.
        help: where to get it and where to put it.
        read: opens one, headers only.
        differences: from what a network needs, by the part's config.
    """

    name: str
    folder: str
    part: str
    wanted: re.Pattern
    foreign: re.Pattern
    help: str
    read: Callable[[Path], Part]
    differences: Callable[[Mapping[str, Any], NetworkConfig], list[str]]


def _t5_differences(config: Mapping[str, Any], network: NetworkConfig) -> list[str]:
    is_released = network.text_embed_dim == _T5_V1_1_XXL["d_model"]
    wanted = _T5_V1_1_XXL if is_released else {**_T5_V1_1, "d_model": network.text_embed_dim}
    return [
        f"{key} {config[key]}, expected {value}"
        for key, value in wanted.items()
        if config[key] != value
    ]


def _vae_differences(config: Mapping[str, Any], network: NetworkConfig) -> list[str]:
    found = []
    if config["latent_channels"] != network.latent_channels:
        found.append(
            f"latent_channels {config['latent_channels']}, expected {network.latent_channels}"
        )
    if not math.isclose(config["scaling_factor"], SCALING_FACTOR, rel_tol=1e-4):
        found.append(
            f"scaling_factor {config['scaling_factor']}, expected {SCALING_FACTOR} as CogVideoX-2B has"
        )
    if config["invert_scale_latents"]:
        found.append("invert_scale_latents, which is CogVideoX 1.5's")
    return found


_WHOLE = "or the folder of huggingface.co/THUDM/CogVideoX-2b into models/CogVideo"
TEXT_ENCODER = PartKind(
    name="T5 text encoder",
    folder="text_encoders",
    part="text_encoder",
    wanted=re.compile(r"(?<![a-z])t5[-_. ]?(v1[-_.]?1[-_.]?)?xxl", re.IGNORECASE),
    foreign=re.compile(
        r"flan|umt5|mt5|byt5|long[-_.]?t5|code[-_.]?t5|aurora|(?<![a-z0-9])ul2|t5[-_.]?v?1[-_.]?0|"
        r"(?<![a-z0-9])t0|pile[-_.]?t5|abliterat|uncensor|"
        r"heretic|unchained|derestrict|jailbreak|nsfw|distil|fine[-_.]?tun",
        re.IGNORECASE,
    ),
    help="put t5xxl_fp16.safetensors or an fp8 one (huggingface.co/comfyanonymous/flux_text_encoders) "
    f"into models/text_encoders, {_WHOLE}",
    read=read_text_encoder,
    differences=_t5_differences,
)
VAE = PartKind(
    name="CogVideoX VAE",
    folder="vae",
    part="vae",
    wanted=re.compile(r"cogvideo|3d-vae", re.IGNORECASE),
    foreign=re.compile(
        r"5b|1[-_. ]?5|i2v|image|(?<![a-z])fun(?![a-z])|void|transformer", re.IGNORECASE
    ),
    help="put vae/diffusion_pytorch_model.safetensors of huggingface.co/THUDM/CogVideoX-2b "
    f"as cogvideox_vae.safetensors into models/vae, {_WHOLE}",
    read=read_vae,
    differences=_vae_differences,
)


def find_misfit(kind: PartKind, path: Path, network: NetworkConfig) -> str | None:
    """Why a file or folder is not what a network needs, None where it is; reads headers only."""
    try:
        found = kind.differences(kind.read(path).config, network)
    except CheckpointError as error:
        return str(error)
    return "; ".join(found) or None


def choose_part(kind: PartKind, candidates: Mapping[str, Path], network: NetworkConfig) -> str:
    """The label of the part to take without being asked; the log says which.

    Args:
        candidates: label -> file or folder; folders go before files of the same rank, in their order here.

    Raises:
        MissingPartError: nothing there, or nothing that is this part beyond doubt; the message names what is.
    """
    fitting, misfits, unclear = [], [], []
    for label, path in candidates.items():
        if kind.foreign.search(label) and not _is_shared(kind, path):
            misfits.append(f"{label}: named like another model")
            continue
        said = os.path.isdir(path) or kind.wanted.search(label)
        misfit = find_misfit(kind, path, network)
        if misfit and said:
            misfits.append(f"{label}: {misfit}")
        elif not misfit:
            (fitting if said else unclear).append(label)
    if fitting:
        chosen = min(fitting, key=lambda label: _rank(label, candidates[label]))
        _log.info("%s: %s is taken (of %s)", kind.name, chosen, ", ".join(fitting))
        return chosen
    raise MissingPartError(_describe_lack(kind, misfits, unclear))


def warn_of_choice(kind: PartKind, label: str, path: Path, network: NetworkConfig) -> None:
    """Say what speaks against a part that somebody chose."""
    misfit = find_misfit(kind, path, network)
    if kind.foreign.search(label) and not _is_shared(kind, path):
        misfit = misfit or "it is named like another model of the same shapes"
    if misfit:
        _log.warning("%s %s was chosen, and may give wrong results: %s", kind.name, label, misfit)


def _is_shared(kind: PartKind, path: Path) -> bool:
    """CogVideoX 5B and 1.5 folders hold the very same T5; another VAE tells itself by its config."""
    return (
        os.path.isdir(path)
        and kind is TEXT_ENCODER
        and not re.search(r"flan|mt5|byt5", path.parent.name, re.IGNORECASE)
    )


def _rank(label: str, path: Path) -> tuple[bool, bool, int]:
    precision = next(
        (i for i, names in enumerate(_PRECISIONS) if re.search(names, label, re.IGNORECASE)), None
    )
    ranks = (0, 1, 3, 4, 5)
    is_2b = re.search(r"2b", label, re.IGNORECASE) is not None
    return not os.path.isdir(path), not is_2b, _UNSAID if precision is None else ranks[precision]


def _describe_lack(kind: PartKind, misfits: list[str], unclear: list[str]) -> str:
    text = f"the checkpoint has no {kind.name}, and there is none in models/{kind.folder} or models/CogVideo"
    if unclear:
        listed = ", ".join(unclear[:_SHOWN])
        text += f" whose name says what it is; by their shapes these could be one: {listed}. Choose one in the node, or"
    elif misfits:
        text += f" that fits ({'; '.join(misfits[:_SHOWN])}):"
    else:
        text += ":"
    return f"{text} {kind.help}"
