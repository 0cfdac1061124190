"""What the core needs of its host, mapped onto ComfyUI: progress, preview, cancel, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..layerflow_core.pipeline import Host
from ..layerflow_core.runtime.latent_store import LatentStore
from ..layerflow_core.runtime.memory import size_of

CATEGORY = "LayerFlow"
PREVIEW_SIZE = 512  # longest side in the browser, pixels


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


def _to_pil(image: Tensor):
    """[3, h, w] 0..1 to an image large enough to be seen."""
    from PIL import Image

    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    factor = max(1, PREVIEW_SIZE // array.shape[1])
    return Image.fromarray(array).resize(
        (array.shape[1] * factor, array.shape[0] * factor), Image.Resampling.BILINEAR
    )


class ComfyDevices:
    """Parts under ComfyUI's own memory management: other models make room for them, and they for others."""

    def device(self, part: torch.nn.Module) -> torch.device:
        from comfy import model_management

        return model_management.get_torch_device()

    def free(self, part: torch.nn.Module) -> int | None:
        from comfy import model_management

        device = model_management.get_torch_device()
        if device.type == "cpu":  # the weights are in RAM already
            return model_management.get_free_memory(device) + size_of(part)
        others = sum(
            loaded.model_loaded_memory()
            for loaded in model_management.current_loaded_models
            if loaded.device == device
        )
        return model_management.get_free_memory(device) + others

    def use(self, part: torch.nn.Module, beside: int) -> None:
        from comfy import model_management
        from comfy.model_patcher import ModelPatcher

        patcher = ModelPatcher(
            _ModuleWrapper(part), model_management.get_torch_device(), torch.device("cpu")
        )
        part._layerflow_patcher = patcher  # ComfyUI itself remembers it weakly only
        model_management.load_models_gpu([patcher], memory_required=beside)

    def make_room(self, part: torch.nn.Module, size: int) -> None:
        from comfy import model_management

        self.release(part)
        model_management.free_memory(size, model_management.get_torch_device())

    def release(self, part: torch.nn.Module) -> None:
        from comfy import model_management

        patcher = part.__dict__.pop("_layerflow_patcher", None)
        loaded = model_management.current_loaded_models
        for entry in [entry for entry in loaded if patcher is not None and entry.model is patcher]:
            entry.model_unload()
            loaded.remove(entry)
        model_management.soft_empty_cache()


class _ModuleWrapper(torch.nn.Module):
    """Takes the metadata that ComfyUI writes onto a model, some under names that diffusers and
    transformers keep for themselves.
    """

    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self.part = part
