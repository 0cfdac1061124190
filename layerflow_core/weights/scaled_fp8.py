"""Scaled fp8 weights as ComfyUI stores them, read as plain ones.

Old files: ``X.weight`` with ``X.scale_weight`` and one ``scaled_fp8`` marker. New ones: ``X.weight_scale`` and a small
JSON ``X.comfy_quant`` that names the format.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..plain_data import Name, parse_record
from .tensor_file import TensorSource

_SCALES = (".scale_weight", ".weight_scale")
_MARKS = (*_SCALES, ".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
_FORMATS = {"float8_e4m3fn", "float8_e5m2"}
_PLAIN = torch.bfloat16
_LARGEST_MARK = 4096  # bytes


@dataclass(frozen=True)
class Mark:
    """What ``comfy_quant`` says of a weight."""

    format: Name


class Unscaled:
    """Scaled weights times their scales, in bf16; a ``TensorSource``.

    Args:
        scales: weight -> its scale.
    """

    def __init__(self, source: TensorSource, scales: Mapping[str, str]) -> None:
        self._source, self._scales = source, scales
        plain = {key: spec for key, spec in source.specs.items() if not key.endswith(_MARKS)}
        self.specs = {
            key: spec.to(_PLAIN) if key in scales else spec for key, spec in plain.items()
        }

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        found = self._source.read(
            [*keys, *(self._scales[key] for key in keys if key in self._scales)]
        )
        return {key: self._multiply(key, found) for key in keys}

    def _multiply(self, key: str, found: Mapping[str, Tensor]) -> Tensor:
        if key not in self._scales:
            return found[key]
        return (found[key].float() * found[self._scales[key]].float()).to(_PLAIN)


def unscaled(source: TensorSource, path: Path) -> TensorSource:
    """The same source where nothing is scaled.

    Raises:
        CheckpointError: quantised in a way other than fp8 with one scale a weight.
    """
    marks = [key for key in source.specs if key.endswith(".comfy_quant")]
    for key in marks:
        met = _read_mark(source, key, path)
        if met not in _FORMATS:
            raise CheckpointError(
                f"{path}: {key} is {ascii(met)[1:-1]}, expected plain weights or {' or '.join(sorted(_FORMATS))}; "
                "take another file of the text encoder"
            )
    scales = {
        key.removesuffix(end) + ".weight": key
        for key in source.specs
        for end in _SCALES
        if key.endswith(end)
    }
    if wrong := [key for key in scales.values() if source.specs[key].numel() != 1]:
        raise CheckpointError(
            f"{path}: {wrong[0]} has shape {list(source.specs[wrong[0]].shape)}, expected one scale a weight"
        )
    if missing := [key for key in scales if key not in source.specs]:
        raise CheckpointError(
            f"{path} has a scale for {missing[0]}, which is not there: the file is incomplete"
        )
    return Unscaled(source, scales) if scales or marks or "scaled_fp8" in source.specs else source


def _read_mark(source: TensorSource, key: str, path: Path) -> str:
    """The name of the format of a weight."""
    spec = source.specs[key]
    if spec.dtype != torch.uint8 or spec.ndim != 1 or spec.numel() > _LARGEST_MARK:
        raise CheckpointError(
            f"{path}: got {key} of {spec.dtype} and shape {list(spec.shape)}, expected a few bytes of JSON"
        )
    text = source.read([key])[key].numpy().tobytes()
    return parse_record(Mark, text, f"{path}: {key}", CheckpointError).format
