"""A safetensors file as text and bytes, so that a damaged one can be put together again."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class SafetensorsText:
    """What a file says.

    Args:
        metadata: text by key.
        tensors: by key, (dtype as the file names it, shape, bytes).
    """

    metadata: Any
    tensors: dict[str, tuple[str, list[int], bytes]]

    @classmethod
    def parse(cls, data: bytes) -> SafetensorsText:
        """Raises ValueError, KeyError or struct.error for what is no such file."""
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        body = data[8 + length :]
        metadata = header.pop("__metadata__", None)
        tensors = {}
        for key, entry in header.items():
            start, end = entry["data_offsets"]
            tensors[key] = entry["dtype"], entry["shape"], body[start:end]
        return cls(metadata, tensors)

    def text_keys(self) -> list[str]:
        """Of tensors whose bytes are JSON: a tokenizer, a description of a format."""
        return [key for key, (_, _, data) in self.tensors.items() if data[:1] == b"{"]

    def change_text(self, key: str, change: Callable[[str], str]) -> None:
        """Raises ValueError if the bytes are no JSON."""
        dtype, _, data = self.tensors[key]
        changed = change(data.decode()).encode("utf-8", "surrogatepass")
        self.tensors[key] = dtype, [len(changed)], changed

    def build(self, change: Callable[[str], str] = str) -> bytes:
        """The file.

        Args:
            change: of the header's text, after all places in it are right.
        """
        header: dict[str, Any] = {}
        if self.metadata is not None:
            header["__metadata__"] = self.metadata
        place = 0
        for key, (dtype, shape, data) in self.tensors.items():
            end = place + len(data)
            header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
            place = end
        text = change(json.dumps(header)).encode("utf-8", "surrogatepass")
        text += b" " * (-len(text) % 8)
        body = b"".join(data for _, _, data in self.tensors.values())
        return struct.pack("<Q", len(text)) + text + body
