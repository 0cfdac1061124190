"""Where the networks' files are: a table of what they are called and where they can be had. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError, EvaluationError
from ...weights.tensor_file import TensorSource
from ...weights.weight_file import open_weights


@dataclass(frozen=True)
class NetworkFile:
    """A row.

    Args:
        title: what the network is.
        names: patterns of file names, the likeliest first.
        source: where it can be had, for people.
    """

    title: str
    names: tuple[str, ...]
    source: str


ALEXNET = NetworkFile(
    "AlexNet",
    ("alexnet-owt-*.pth",),
    "torchvision's alexnet-owt-7be5be79.pth",
)


RAFT = NetworkFile(
    "RAFT",
    ("raft_large_C_T_V1-*.pth", "raft-things.pth", "raft-things.safetensors"),
    "torchvision's raft_large_C_T_V1-22a6c225.pth, which is the raft-things.pth of RAFT's authors",
)
CLIP_L14 = NetworkFile(
    "CLIP ViT-L/14",
    (
        "clip-vit-large-patch14.safetensors",
        "clip-vit-large-patch14/model.safetensors",
        "models--openai--clip-vit-large-patch14/snapshots/*/model.safetensors",
        "ViT-L-14.safetensors",
        "ViT-L-14.pt",
    ),
    "model.safetensors of openai/clip-vit-large-patch14 on Hugging Face, under that repository's name",
)
CLIP_B32 = NetworkFile(
    "CLIP ViT-B/32",
    (
        "clip-vit-base-patch32.safetensors",
        "clip-vit-base-patch32/model.safetensors",
        "models--openai--clip-vit-base-patch32/snapshots/*/model.safetensors",
        "ViT-B-32.safetensors",
        "ViT-B-32.pt",
    ),
    "model.safetensors of openai/clip-vit-base-patch32 on Hugging Face, under that repository's name",
)
AESTHETIC = NetworkFile(
    "the aesthetic predictor",
    ("sa_0_4_vit_l_14_linear.pth",),
    "sa_0_4_vit_l_14_linear.pth of LAION-AI/aesthetic-predictor on GitHub",
)
DINO = NetworkFile(
    "DINO ViT-B/16",
    (
        "dino_vitbase16_pretrain.pth",
        "dino-vitb16.safetensors",
        "dino-vitb16/model.safetensors",
        "models--facebook--dino-vitb16/snapshots/*/model.safetensors",
    ),
    "dino_vitbase16_pretrain.pth of facebookresearch/dino, or model.safetensors of facebook/dino-vitb16",
)
VICLIP = NetworkFile(
    "ViCLIP",
    ("ViClip-InternVid-10M-FLT.pth", "ViClip-InternVid-10M-FLT.safetensors"),
    "ViClip-InternVid-10M-FLT.pth of OpenGVLab/VBench_Used_Models on Hugging Face",
)
CLIP_WORDS = NetworkFile(
    "CLIP's list of merges",
    ("bpe_simple_vocab_16e6.txt.gz", "merges.txt"),
    "bpe_simple_vocab_16e6.txt.gz of openai/CLIP, or merges.txt of any CLIP tokenizer",
)


def find_file(row: NetworkFile, folder: Path | None) -> Path:
    """A network's file in a folder, at any depth, or where torch keeps what it once fetched.

    Raises:
        EvaluationError: it is in neither; the message says what to put where.
    """
    places = [Path(torch.hub.get_dir(), "checkpoints"), *([folder] if folder else [])]
    for place in reversed(places):
        found = next(_matches(row, place), None)
        if found is not None:
            return found
    where = folder or "the folder of metric networks"
    raise EvaluationError(
        f"{row.title} is missing: put {row.names[0]} into {where}; it is {row.source}"
    )


def _matches(row: NetworkFile, folder: Path) -> Iterator[Path]:
    for name in row.names:
        yield from sorted(folder.rglob(name))


def open_source(path: Path) -> TensorSource:
    """A file's tensors, none read yet; raises EvaluationError if it is no file of weights."""
    try:
        return open_weights(path)
    except CheckpointError as error:
        raise EvaluationError(str(error)) from error


def read_state(source: TensorSource, names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Some tensors by other names, in float32 where they are floats.

    Args:
        names: key here -> the file's.

    Raises:
        EvaluationError: the file lacks one, or cannot be read.
    """
    missing = [theirs for theirs in names.values() if theirs not in source.specs]
    if missing:
        raise EvaluationError(
            f"{path} is another network: got {len(source.specs)} tensors without {missing[0]}, "
            f"expected {len(names)} with it"
        )
    try:
        found = source.read(list(names.values()))
    except CheckpointError as error:
        raise EvaluationError(str(error)) from error
    return {key: _plain(found[theirs]) for key, theirs in names.items()}


def _plain(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def fill(module: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give a module, which may be on the meta device, all its tensors.

    Args:
        path: where they are from, for messages.

    Raises:
        EvaluationError: one is missing or of another shape.
    """
    expected = module.state_dict()
    for key, wanted in expected.items():
        if key not in state:
            raise EvaluationError(f"{path} is another network: it lacks {key}")
        if state[key].shape != wanted.shape:
            raise EvaluationError(
                f"{path} is another network: got {key} of {tuple(state[key].shape)}, "
                f"expected {tuple(wanted.shape)}"
            )
    module.load_state_dict({key: state[key] for key in expected}, assign=True)
    module.requires_grad_(False)
