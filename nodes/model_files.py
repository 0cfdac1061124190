"""What lies in ComfyUI's model folders, by the names that widgets show."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..layerflow_core.errors import MissingPartError

AUTO = "auto"
CHECKPOINTS = "layerflow"
_EXTENSIONS = {".safetensors", ".pt"}
# Where diffusers folders are kept; the first is another pack's place for this very model.
_DIFFUSERS = ("CogVideo", "diffusers")


@dataclass(frozen=True)
class PartKind:
    """A part of CogVideoX-2B that is kept apart from the network.

    Args:
        name: for messages.
        folder: ComfyUI's name of the folder of single files.
        part: its folder within a diffusers one.
        wanted: names of single files that are taken without being asked for.
        help: where to get it and where to put it.
    """

    name: str
    folder: str
    part: str
    wanted: re.Pattern
    help: str


_WHOLE = "or the folder of huggingface.co/THUDM/CogVideoX-2b into models/CogVideo"
TEXT_ENCODER = PartKind(
    "T5 text encoder", "text_encoders", "text_encoder", re.compile(r"(?<![a-z])t5[-_.]?(v1[-_.]?1[-_.]?)?xxl", re.IGNORECASE),
    f"put t5xxl_fp16.safetensors or an fp8 one (huggingface.co/comfyanonymous/flux_text_encoders) into models/text_encoders, {_WHOLE}",
)  # fmt: skip
VAE = PartKind(
    "CogVideoX VAE", "vae", "vae", re.compile(r"cogvideo(?!.*(5b|1\.5))|3d-vae", re.IGNORECASE),
    f"put vae/diffusion_pytorch_model.safetensors of huggingface.co/THUDM/CogVideoX-2b as cogvideox_vae.safetensors into models/vae, {_WHOLE}",
)  # fmt: skip


def register_model_folder() -> None:
    """Make ``models/layerflow`` a folder that ComfyUI lists, keeping paths a user has configured."""
    import folder_paths

    known = folder_paths.folder_names_and_paths
    configured = known[CHECKPOINTS][0] if CHECKPOINTS in known else []
    known[CHECKPOINTS] = ([os.path.join(folder_paths.models_dir, CHECKPOINTS), *configured], _EXTENSIONS)


def list_parts(kind: PartKind) -> list[str]:
    """Names a widget offers: diffusers folders, then single files."""
    import folder_paths

    return [*_folders_with(kind), *folder_paths.get_filename_list(kind.folder)]


def find_part(kind: PartKind, name: str) -> Path:
    """Where a part lies.

    Args:
        name: one of ``list_parts``; ``AUTO`` takes a diffusers folder, or a single file whose name says what it is.

    Raises:
        MissingPartError: nothing there; the message says what to put where.
    """
    import folder_paths

    if name == AUTO:
        fitting = [*_folders_with(kind), *(file for file in folder_paths.get_filename_list(kind.folder) if kind.wanted.search(file))]
        if not fitting:
            raise MissingPartError(f"the checkpoint has no {kind.name}, and none lies in models/{kind.folder} or models/{_DIFFUSERS[0]}: {kind.help}")
        name = fitting[0]
    return _folders_with(kind).get(name) or Path(folder_paths.get_full_path_or_raise(kind.folder, name))


def find_tokenizer(text_encoder: Path) -> Path:
    """T5's tokenizer: beside a diffusers text encoder, else the one that ComfyUI brings along."""
    import folder_paths

    beside = text_encoder.parent / "tokenizer"
    if text_encoder.is_dir() and beside.is_dir():
        return beside
    return Path(folder_paths.__file__).parent / "comfy" / "text_encoders" / "t5_tokenizer"


def _folders_with(kind: PartKind) -> dict[str, Path]:
    import folder_paths

    roots = [Path(folder_paths.models_dir, name) for name in _DIFFUSERS]
    found = (config.parent for root in roots for config in sorted(root.glob(f"*/{kind.part}/config.json")))
    return {f"{path.parents[1].name}/{path.parent.name}": path for path in found}
