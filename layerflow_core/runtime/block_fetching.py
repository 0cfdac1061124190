"""Blocks that come to their device one by one as they are called, while the rest of the model stays in RAM.

Two buffers on the device take turns: one has the block at work, into the other the next block is copied meanwhile.
Nothing is pinned in RAM, and nothing is copied back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..model.residence import Entry, as_copy_of, bring_entries, drop, entries_of

_ALIGNMENT = 256  # bytes, as torch's allocator aligns tensors
# Where ``torch.nn.Module.compile`` puts what is called in the place of a module. So a block is fetched before its
# compiled code sees it, and need not be compiled again.
_CALL = "_compiled_call_impl"


@contextmanager
def fetched_by_block(
    part: nn.Module, blocks: Sequence[nn.Module], device: torch.device
) -> Iterator[None]:
    """Inside this context each block is on the device while it is called; the part's other tensors stay there.

    Args:
        blocks: in the order in which they are called.
    """
    inside = {id(entry.tensor) for block in blocks for entry in entries_of(block)}
    outside = [entry for entry in entries_of(part) if id(entry.tensor) not in inside]
    with ExitStack() as stack:
        stack.callback(drop, part)
        bring_entries(outside, device)
        fetcher = _Fetcher(blocks, device)
        stack.callback(fetcher.finish)
        for number, block in enumerate(blocks):
            stack.enter_context(_called_through(block, partial(fetcher.call, number)))
        yield


@contextmanager
def _called_through(block: nn.Module, call: Callable[..., Any]) -> Iterator[None]:
    before = block.__dict__.get(_CALL)
    setattr(block, _CALL, partial(call, before or block._call_impl))
    try:
        yield
    finally:
        delattr(block, _CALL)
        if before is not None:
            setattr(block, _CALL, before)


class _Fetcher:
    """Brings blocks into two buffers, ahead of the calls."""

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self._entries = [entries_of(block) for block in blocks]
        size = max(map(_size_in_buffer, self._entries), default=0)
        self._stream = _SideStream(device) if device.type == "cuda" else _NoStream()
        self._buffers = [_Buffer(size, device, self._stream) for _ in range(2)]

    def call(self, number: int, block: Callable[..., Any], *inputs, **named) -> Any:
        """Call a block with its tensors on the device, then copy the next one."""
        entries = self._entries[number]
        buffer = self._fetch(number)
        buffer.wait_for_copy()
        _put(entries, buffer.tensors)
        try:
            result = block(*inputs, **named)
        finally:
            _put(entries, [entry.tensor for entry in entries])
            buffer.mark_used()
        if number + 1 < len(self._entries):
            self._fetch(number + 1)
        return result

    def finish(self) -> None:
        """Wait for copies under way, whose buffers go."""
        self._stream.finish()

    def _fetch(self, number: int) -> _Buffer:
        buffer = self._buffers[number % len(self._buffers)]
        if buffer.number != number:
            buffer.copy(number, [entry.tensor for entry in self._entries[number]])
        return buffer


def _put(entries: Sequence[Entry], tensors: Sequence[Tensor]) -> None:
    for entry, tensor in zip(entries, tensors, strict=True):
        entry.table[entry.name] = tensor


class _Buffer:
    """Room for one block on the device.

    Args:
        size: bytes.
    """

    def __init__(self, size: int, device: torch.device, stream: _SideStream | _NoStream) -> None:
        self.number: int | None = None
        self.tensors: list[Tensor] = []
        self._bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self._stream = stream
        self._copied = stream.event()
        self._used = stream.event()
        self.mark_used()  # the memory may be at work still for who had it before

    def copy(self, number: int, tensors: Sequence[Tensor]) -> None:
        """Copy a block's tensors here, once the block before has been computed."""
        self.number = None
        with self._stream.after(self._used):
            self.tensors = self._copies(tensors)
        self._stream.record_copy(self._copied)
        self.number = number

    def wait_for_copy(self) -> None:
        self._stream.wait(self._copied)

    def mark_used(self) -> None:
        self._stream.record_computing(self._used)

    def _copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        copies = []
        start = 0
        for tensor in tensors:
            end = start + tensor.nbytes
            values = self._bytes[start:end].view(tensor.dtype).view(tensor.shape)
            values.copy_(tensor.detach(), non_blocking=True)
            copies.append(as_copy_of(tensor, values))
            start += _aligned(tensor.nbytes)
        return copies


def _size_in_buffer(entries: Sequence[Entry]) -> int:
    return sum(_aligned(entry.tensor.nbytes) for entry in entries)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class _SideStream:
    """Copies beside the computing, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def event(self) -> torch.cuda.Event:
        return torch.cuda.Event()

    @contextmanager
    def after(self, event: torch.cuda.Event) -> Iterator[None]:
        """Inside this context work goes to the side stream, where it waits for the event."""
        self._stream.wait_event(event)
        with torch.cuda.stream(self._stream):
            yield

    def record_copy(self, event: torch.cuda.Event) -> None:
        event.record(self._stream)

    def record_computing(self, event: torch.cuda.Event) -> None:
        event.record(torch.cuda.current_stream(self._device))

    def wait(self, event: torch.cuda.Event) -> None:
        torch.cuda.current_stream(self._device).wait_event(event)

    def finish(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)


class _NoStream:
    """Copies and computing in turn, where there are no streams."""

    def event(self) -> None:
        return None

    @contextmanager
    def after(self, event: None) -> Iterator[None]:
        yield

    def record_copy(self, event: None) -> None:
        pass

    def record_computing(self, event: None) -> None:
        pass

    def wait(self, event: None) -> None:
        pass

    def finish(self) -> None:
        pass
