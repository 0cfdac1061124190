"""What is in ComfyUI's model folders, by the names that widgets show."""

from __future__ import annotations

import os
from pathlib import Path

from ..layerflow_core.config import NetworkConfig
from ..layerflow_core.errors import CheckpointError, MissingPartError
from ..layerflow_core.weights.component_choice import (
    TEXT_ENCODER,
    VAE,
    PartKind,
    choose_part,
    warn_of_choice,
)

__all__ = [
    "AUTO",
    "CHECKPOINTS",
    "TEXT_ENCODER",
    "VAE",
    "find_file",
    "find_part",
    "find_tokenizer",
    "list_parts",
]

AUTO = "auto"
CHECKPOINTS = "layerflow"
_EXTENSIONS = {".safetensors", ".pt"}
# Where people keep T5 in GGUF: text encoders, and where another pack lists such files.
_GGUF_FOLDERS = ("text_encoders", "clip", "clip_gguf", "unet", "diffusion_models", "unet_gguf")
# Where diffusers folders are kept; the first is another pack's place for this very model.
_DIFFUSERS = ("CogVideo", "diffusers")


def register_model_folder() -> None:
    """Make ``models/layerflow`` a folder that ComfyUI lists, keeping paths a user has configured."""
    import folder_paths

    folder_paths.folder_names_and_paths[CHECKPOINTS] = (_roots(CHECKPOINTS), _EXTENSIONS)


def list_parts(kind: PartKind) -> list[str]:
    """Names a widget offers: diffusers folders, then single files."""
    import folder_paths

    listed = folder_paths.get_filename_list(kind.folder)
    return list(dict.fromkeys([*_folders_with(kind), *listed, *_gguf_files(kind)]))


def find_file(folder: str, name: str) -> Path:
    """A file that ComfyUI lists, wherever its folder's roots lie.

    Raises:
        CheckpointError: it is not listed; a name out of a graph is never a path.
    """
    import folder_paths

    listed = name in folder_paths.get_filename_list(folder)
    try:
        path = Path(folder_paths.get_full_path_or_raise(folder, name)) if listed else None
    except FileNotFoundError:
        path = None
    if path is None:
        raise CheckpointError(
            f"got {ascii(name)[:200]}, which is not in models/{folder}; choose a file of the list "
            "(press R to read it again)"
        )
    return path


def find_part(kind: PartKind, name: str, network: NetworkConfig = NetworkConfig()) -> Path:
    """Where a part lies.

    Args:
        name: one of ``list_parts``; ``AUTO`` takes a diffusers folder, or a single file whose name says what it is.
        network: that it is for.

    Raises:
        MissingPartError: nothing there that fits; the message says what to put where.
        CheckpointError: no such name.
    """
    if name == AUTO:
        candidates = _candidates(kind)
        return candidates[choose_part(kind, candidates, network)]
    path = _find_named(kind, name)
    warn_of_choice(kind, name, path, network)
    return path


def find_tokenizer(text_encoder: Path | None) -> Path:
    """T5's tokenizer: beside a diffusers text encoder, else the one that ComfyUI brings along.

    Args:
        text_encoder: None where it is the checkpoint's own.
    """
    import folder_paths

    beside = text_encoder and text_encoder.parent / "tokenizer"
    if beside and os.path.isdir(text_encoder) and os.path.isdir(beside):
        return beside
    return Path(folder_paths.__file__).parent / "comfy" / "text_encoders" / "t5_tokenizer"


def stamp_part(kind: PartKind, name: str) -> str:
    """Another text where another file would be taken, or the same has changed."""
    try:
        paths = _candidates(kind) if name == AUTO else {name: _find_named(kind, name)}
    except (CheckpointError, MissingPartError):
        return name
    return " ".join(stamp(path) for path in paths.values())


def stamp(path: Path) -> str:
    """Another text where a file has changed."""
    try:
        status = path.stat()
    except OSError:
        return f"{path}"
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def _find_named(kind: PartKind, name: str) -> Path:
    known = _folders_with(kind) | _gguf_files(kind)
    return known.get(name) or find_file(kind.folder, name)


def _gguf_files(kind: PartKind) -> dict[str, Path]:
    """By their names within a folder, those whose name says that they are this part; ComfyUI itself lists none."""
    found: dict[str, Path] = {}
    if kind is not TEXT_ENCODER:
        return found
    roots = dict.fromkeys(Path(root) for folder in _GGUF_FOLDERS for root in _roots(folder))
    for root in roots:
        for path in sorted(root.rglob("*.gguf")):
            name = path.relative_to(root).as_posix()
            if kind.wanted.search(name) or "t5" in path.name.lower():
                found.setdefault(name, path)
    return found


def _candidates(kind: PartKind) -> dict[str, Path]:
    import folder_paths

    found = dict(_folders_with(kind))
    for name in folder_paths.get_filename_list(kind.folder):
        found.setdefault(name, find_file(kind.folder, name))
    for name, path in _gguf_files(kind).items():
        found.setdefault(name, path)
    return found


def _folders_with(kind: PartKind) -> dict[str, Path]:
    """Folders of diffusers models that have this part, in every root; a root may be such a folder itself."""
    found: dict[str, Path] = {}
    for key in _DIFFUSERS:
        for root in map(Path, _roots(key)):
            configs = [
                *root.glob(f"{kind.part}/config.json"),
                *sorted(root.glob(f"*/{kind.part}/config.json")),
            ]
            for config in configs:
                found.setdefault(f"{key}/{config.parents[1].name}", config.parent)
    return found


def _roots(name: str) -> list[str]:
    """Every place that ComfyUI knows for a folder: its own, and those of ``extra_model_paths.yaml``."""
    import folder_paths

    known = folder_paths.folder_names_and_paths
    configured = known[name][0] if name in known else []
    own = os.path.join(folder_paths.models_dir, name)
    return list(dict.fromkeys([own, *configured]))
