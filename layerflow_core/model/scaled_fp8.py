"""Scaled fp8 weights as ComfyUI stores them, read as plain ones.

Old files: ``X.weight`` with ``X.scale_weight`` and one ``scaled_fp8`` marker. New ones: ``X.weight_scale`` and a small
JSON ``X.comfy_quant`` that names the format.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from .tensor_file import TensorSource

_SCALES = (".scale_weight", ".weight_scale")
_MARKS = (*_SCALES, ".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
_FORMATS = {"float8_e4m3fn", "float8_e5m2"}
_PLAIN = torch.bfloat16


class Unscaled:
    """Scaled weights times their scales, in bf16; a ``TensorSource``.

    Args:
        scales: weight -> its scale.
    """

    def __init__(self, source: TensorSource, scales: Mapping[str, str]) -> None:
        self._source, self._scales = source, scales
        plain = {key: spec for key, spec in source.specs.items() if not key.endswith(_MARKS)}
        self.specs = {key: spec.to(_PLAIN) if key in scales else spec for key, spec in plain.items()}

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        found = self._source.read([*keys, *(self._scales[key] for key in keys if key in self._scales)])
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
    for key, value in source.read(marks).items():
        met = json.loads(value.numpy().tobytes()).get("format")
        if met not in _FORMATS:
            raise CheckpointError(f"{path}: {key} is {met}, expected plain weights or {' or '.join(sorted(_FORMATS))}; take another file of the text encoder")
    scales = {key.removesuffix(end) + ".weight": key for key in source.specs for end in _SCALES if key.endswith(end)}
    if wrong := [key for key in scales.values() if source.specs[key].numel() != 1]:
        raise CheckpointError(f"{path}: {wrong[0]} has shape {list(source.specs[wrong[0]].shape)}, expected one scale a weight")
    if missing := [key for key in scales if key not in source.specs]:
        raise CheckpointError(f"{path} has a scale for {missing[0]}, which is not there: the file is incomplete")
    return Unscaled(source, scales) if scales or marks or "scaled_fp8" in source.specs else source
