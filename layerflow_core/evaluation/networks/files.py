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


def fill(module: torch.nn.Module, path: Path, names: Mapping[str, str] | None = None) -> None:
    """Give a module built on the meta device, or any other, a file's tensors in float32.

    Args:
        names: the module's key -> the file's, None where they are the same; what else the file holds is left out.

    Raises:
        EvaluationError: the file is another network's, or none.
    """
    expected = module.state_dict()
    names = names or {key: key for key in expected}
    try:
        source = open_weights(path)
        _check(expected, names, source, path)
        tensors = source.read(list(names.values()))
    except CheckpointError as error:
        raise EvaluationError(str(error)) from error
    state = {key: _typed(tensors[theirs], expected[key]) for key, theirs in names.items()}
    module.load_state_dict(state, strict=False, assign=True)


def _typed(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor.float() if like.is_floating_point() else tensor.to(like.dtype)


def _check(
    expected: Mapping[str, Tensor], names: Mapping[str, str], source: TensorSource, path: Path
) -> None:
    missing = [theirs for theirs in names.values() if theirs not in source.specs]
    if missing:
        raise EvaluationError(
            f"{path} is another network: got {len(source.specs)} tensors without {missing[0]}, "
            f"expected {len(names)} with it"
        )
    for key, theirs in names.items():
        met = tuple(source.specs[theirs].shape)
        wanted = tuple(expected[key].shape)
        if met != wanted:
            raise EvaluationError(
                f"{path} is another network: got {theirs} of {met}, expected {wanted}"
            )
