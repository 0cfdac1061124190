"""What the core needs of its host, mapped onto ComfyUI: progress, preview, cancel, memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CATEGORY = "LayerFlow"
PREVIEW_SIZE = 512  # longest side in the browser, pixels


class ComfyObserver:
    """Progress bar with a live preview of the layers; stops between two steps when the user cancels.

    ComfyUI's interrupt is a plain Exception: nothing in the core may catch those broadly.
    """

    def __init__(self, node_id: str | None) -> None:
        self._node_id, self._bar = node_id, None

    def stage(self, name: str) -> None:
        self._stop_if_cancelled()

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        from comfy.utils import ProgressBar

        self._stop_if_cancelled()
        if self._bar is None:
            self._bar = ProgressBar(total, node_id=self._node_id)
        self._bar.update_absolute(done, total, ("JPEG", _to_pil(preview()), PREVIEW_SIZE))

    def _stop_if_cancelled(self) -> None:
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()


def _to_pil(picture: Tensor):
    """[3, h, w] 0..1 to a picture large enough to be seen."""
    from PIL import Image

    array = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    factor = max(1, PREVIEW_SIZE // array.shape[1])
    return Image.fromarray(array).resize((array.shape[1] * factor, array.shape[0] * factor), Image.Resampling.BILINEAR)


class ComfyDevices:
    """Each part is on ComfyUI's device while it works and back in RAM afterwards; other models make room."""

    def use(self, part: torch.nn.Module) -> None:
        from comfy import model_management

        device = model_management.get_torch_device()
        if device.type != "cpu":
            size = sum(p.numel() * p.element_size() for p in part.parameters())
            model_management.free_memory(size * 1.2, device)
        part.to(device)

    def release(self, part: torch.nn.Module) -> None:
        from comfy import model_management

        if model_management.get_torch_device().type != "cpu":
            part.to("cpu")
            model_management.soft_empty_cache()
