"""Where the tensors of a part stand: copies on a device while it works, the originals in RAM all the time.

Weights do not change at inference. So nothing is copied back: copies are dropped, and the originals, which other
models may share, are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

_ORIGINAL = "_layerflow_original"


class Entry(NamedTuple):
    """A tensor, and the place that holds it: a module's parameters or buffers by name."""

    table: dict[str, Tensor | None]
    name: str
    tensor: Tensor


def bring(part: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Put copies of a part's tensors on a device. After an error the part is as it was.

    Args:
        dtype: of the copies of floating-point numbers; None: as they are.
    """
    try:
        bring_entries(entries_of(part), device, dtype)
    except BaseException:
        drop(part)
        raise


def bring_entries(
    entries: Iterable[Entry], device: torch.device, dtype: torch.dtype | None = None
) -> None:
    """``bring`` of some tensors; one that several places hold is copied once."""
    copies: dict[int, Tensor] = {}
    for table, name, tensor in entries:
        if id(tensor) not in copies:
            copies[id(tensor)] = _copy(tensor, device, dtype)
        table[name] = copies[id(tensor)]


def drop(part: nn.Module) -> None:
    """Put the originals back in place of copies."""
    for table, name, tensor in entries_of(part):
        table[name] = original(tensor)


def original(tensor: Tensor) -> Tensor:
    """The tensor in RAM that this one is a copy of; itself where it is none."""
    return getattr(tensor, _ORIGINAL, tensor)


def stands_on(part: nn.Module, device: torch.device) -> bool:
    """Whether every tensor of a part is there."""
    return all(is_on(tensor, device) for _, _, tensor in entries_of(part))


def is_on(tensor: Tensor, device: torch.device) -> bool:
    """Whether a tensor is there; a device without an index stands for any of its type."""
    same_index = device.index is None or tensor.device.index == device.index
    return tensor.device.type == device.type and same_index


def entries_of(part: nn.Module) -> list[Entry]:
    """Every place of a part that holds a tensor."""
    return [entry for module in part.modules() for entry in _own_entries(module)]


def as_copy_of(source: Tensor, values: Tensor) -> Tensor:
    """Values that can stand in the place of a parameter or buffer, which they remember."""
    if isinstance(source, nn.Parameter):
        values = nn.Parameter(values, source.requires_grad)
    setattr(values, _ORIGINAL, source)
    return values


def _own_entries(module: nn.Module) -> Iterator[Entry]:
    for table in (module._parameters, module._buffers):
        for name, tensor in table.items():
            if tensor is not None:
                yield Entry(table, name, tensor)


def _copy(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        dtype = tensor.dtype
    if is_on(tensor, device) and tensor.dtype == dtype:
        return tensor
    source = original(tensor)
    if is_on(source, device) and source.dtype == dtype:
        return source
    return as_copy_of(source, source.detach().to(device, dtype))
