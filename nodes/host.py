"""What the core needs of its host, mapped onto ComfyUI: progress, preview, cancel, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..layerflow_core.pipeline import Host
from ..layerflow_core.runtime.latent_store import LatentStore
from .comfy_devices import ComfyDevices

CATEGORY = "LayerFlow"
PREVIEW_SIZE = 512  # longest side in the browser, pixels

STAGES = {
    "encode": "Encoding the given layers",
    "text": "Reading the prompts",
    "sample": "Sampling",
    "decode": "Decoding",
}
"""What the node says of the pipeline's stages."""
_WHOLE = 1000  # of the progress bar
_BEFORE_SAMPLING = 50
_SAMPLED = 630  # decoding takes a third of a run


def comfy_host(node_id: str | None) -> Host:
    """Latents wait for their decoding in ComfyUI's temporary folder: queue a run again whose
    decoding failed, and it is not sampled again.
    """
    import folder_paths

    return Host(
        ComfyObserver(node_id),
        ComfyDevices(),
        LatentStore(Path(folder_paths.get_temp_directory(), "layerflow")),
    )


class ComfyObserver:
    """Progress bar, stage and live preview on the node; stops where the core lets it when the user cancels.

    ComfyUI's interrupt is a plain Exception: nothing in the core may catch those broadly.
    """

    def __init__(self, node_id: str | None) -> None:
        self._node_id, self._bar = node_id, None

    def stage(self, name: str) -> None:
        self._stop_if_cancelled()
        _say(STAGES[name], self._node_id)

    def pause(self) -> None:
        self._stop_if_cancelled()

    def step(self, done: int, total: int, preview: Callable[[], Tensor]) -> None:
        from comfy.utils import ProgressBar

        self._stop_if_cancelled()
        if self._bar is None:
            self._bar = ProgressBar(_WHOLE, node_id=self._node_id)
        shown = _BEFORE_SAMPLING + (_SAMPLED - _BEFORE_SAMPLING) * done // total
        self._bar.update_absolute(shown, _WHOLE, ("JPEG", _to_pil(preview()), PREVIEW_SIZE))
        _say(f"{STAGES['sample']}: step {done} of {total}", self._node_id)

    def _stop_if_cancelled(self) -> None:
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()


def _say(text: str, node_id: str | None) -> None:
    """A line on the node, where there is a server."""
    try:
        from server import PromptServer
    except ImportError:
        return
    if node_id is not None:
        PromptServer.instance.send_progress_text(text, node_id)


def _to_pil(image: Tensor):
    """[3, h, w] 0..1 to an image large enough to be seen."""
    from PIL import Image

    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    factor = max(1, PREVIEW_SIZE // array.shape[1])
    return Image.fromarray(array).resize(
        (array.shape[1] * factor, array.shape[0] * factor), Image.Resampling.BILINEAR
    )
