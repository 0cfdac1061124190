"""RAFT (Teed and Deng 2020), the large one, by torchvision, from its file or from that of the authors.

Legend: H height, W width.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import EvaluationError
from ...weights.tensor_file import TensorSource
from ..packages import import_package
from .files import RAFT, fill, find_file, open_source, read_state

UPDATES = 20
_SMALLEST = 128  # pixels of a side; below, its pyramid has nothing at the top
_STEP = 8

# torchvision's names of parts -> the authors'.
_RENAMES = (
    (r"feature_encoder\.(.+)", r"fnet.\1"),
    (r"context_encoder\.(.+)", r"cnet.\1"),
    (r"(.net)\.convnormrelu\.0\.(.+)", r"\1.conv1.\2"),
    (r"(.net)\.convnormrelu\.1\.(.+)", r"\1.norm1.\2"),
    (r"(.net)\.conv\.(.+)", r"\1.conv2.\2"),
    (r"(.+)\.convnormrelu(\d)\.0\.(.+)", r"\1.conv\2.\3"),
    (r"(.+)\.convnormrelu(\d)\.1\.(.+)", r"\1.norm\2.\3"),
    (r"update_block\.motion_encoder\.convcorr(\d)\.0\.(.+)", r"update_block.encoder.convc\1.\2"),
    (r"update_block\.motion_encoder\.convflow(\d)\.0\.(.+)", r"update_block.encoder.convf\1.\2"),
    (r"update_block\.motion_encoder\.conv\.0\.(.+)", r"update_block.encoder.conv.\1"),
    (r"update_block\.recurrent_block\.convgru(\d)\.conv(.)\.(.+)", r"update_block.gru.conv\2\1.\3"),
    (r"mask_predictor\.convrelu\.0\.(.+)", r"update_block.mask.0.\1"),
    (r"mask_predictor\.conv\.(.+)", r"update_block.mask.2.\1"),
)
_PARALLEL = "module."  # what the authors' file has before each name


class OpticalFlow:
    """Raises EvaluationError if torchvision or the file is missing, or the file is another network's."""

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        package = import_package("torchvision.models.optical_flow", "torchvision", "Dynamic degree")
        path = find_file(RAFT, folder)
        self._device = device
        self._network = package.raft_large(weights=None)
        fill(self._network, read_weights(open_source(path), self._network, path), path)
        self._network.eval().to(device)

    @torch.inference_mode()
    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow from one frame to the other.

        Args:
            first, second: [1, 3, H, W], 0..255.

        Returns:
            [2, h, w] in pixels; of the frames padded to whole multiples of 8.

        Raises:
            EvaluationError: a frame smaller than 128 pixels.
        """
        if min(first.shape[2:]) < _SMALLEST:
            raise EvaluationError(
                f"optical flow: got {first.shape[3]} x {first.shape[2]} pixels, "
                f"expected {_SMALLEST} x {_SMALLEST} or more"
            )
        pair = [_pad(frame.to(self._device) / 127.5 - 1) for frame in (first, second)]
        return self._network(*pair, num_flow_updates=UPDATES)[-1][0].cpu()


def read_weights(source: TensorSource, network: torch.nn.Module, path: Path) -> dict[str, Tensor]:
    """Tensors by torchvision's names."""
    keys = network.state_dict()
    names = {key: key for key in keys}
    if not any(key.startswith("feature_encoder.") for key in source.specs):
        parallel = any(key.startswith(_PARALLEL) for key in source.specs)
        prefix = _PARALLEL if parallel else ""
        names = {key: prefix + to_authors_name(key) for key in keys}
    return read_state(source, names, path)


def to_authors_name(key: str) -> str:
    """A key of torchvision by the authors' name."""
    for pattern, name in _RENAMES:
        match = re.fullmatch(pattern, key)
        if match:
            key = match.expand(name)
    return key


def _pad(frame: Tensor) -> Tensor:
    """To whole multiples of 8, the border repeated, the frame in the middle (RAFT's ``InputPadder``)."""
    down = -frame.shape[2] % _STEP
    across = -frame.shape[3] % _STEP
    sides = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(frame, sides, mode="replicate")
