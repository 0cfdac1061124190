"""Parts under ComfyUI's own memory management: other models make room for them, and they for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..layerflow_core.errors import PartlyLoadedError
from ..layerflow_core.model.residence import drop, stands_on
from ..layerflow_core.runtime.memory import size_of
from .part_patcher import make_patcher

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_PATCHER = "_layerflow_patcher"
_VAE = "AutoencoderKLCogVideoX"
# By a part's class, who of ComfyUI's model management knows its device: flags such as --lowvram and --cpu-vae speak
# of one kind of part.
_DEVICES = {"T5EncoderModel": "text_encoder_device", _VAE: "vae_device"}
_EVERYTHING = 1e30  # bytes, ComfyUI's own figure for all there is


class ComfyDevices:
    """Which device a part has, what is free there, and how it comes and goes, as ComfyUI's flags say."""

    def device(self, part: torch.nn.Module) -> torch.device:
        from comfy import model_management

        name = _DEVICES.get(type(part).__name__, "get_torch_device")
        return getattr(model_management, name)()

    def free(self, part: torch.nn.Module) -> int | None:
        from comfy import model_management

        device = self.device(part)
        if device.type == "cpu":  # the weights are in RAM already
            return model_management.get_free_memory(device) + size_of(part)
        if _may_not_stand_whole(part):
            return 0
        others = sum(
            loaded.model_loaded_memory()
            for loaded in model_management.current_loaded_models
            if loaded.device == device and loaded.model is not None
        )
        reserved = model_management.extra_reserved_memory()
        return int(model_management.get_free_memory(device) + others - reserved)

    def use(self, part: torch.nn.Module, beside: int) -> None:
        from comfy import model_management

        device = self.device(part)
        if device.type == "cpu":
            return
        patcher = self._patcher_of(part, device)
        try:
            model_management.load_models_gpu(
                [patcher], memory_required=beside, force_full_load=True
            )
        except BaseException:
            self._take_off(part)
            raise
        if not stands_on(part, device):
            self._take_off(part)
            raise PartlyLoadedError(
                f"got only some of {type(part).__name__} on {device} from ComfyUI's loader, "
                "expected all of it: another custom node may have changed the loader"
            )

    def make_room(self, part: torch.nn.Module, size: int | None) -> None:
        from comfy import model_management

        self._take_off(part)
        device = self.device(part)
        if device.type == "cpu" or size == 0:
            return
        room = _EVERYTHING if size is None else size + model_management.extra_reserved_memory()
        model_management.free_memory(room, device)

    def release(self, part: torch.nn.Module) -> None:
        """It stays; ComfyUI takes it off when others need the room, as it does with all models."""

    def _patcher_of(self, part: torch.nn.Module, device: torch.device) -> ModelPatcher:
        patcher = _held(part)
        if patcher is not None and patcher.load_device == device:
            return patcher
        self._take_off(part)
        patcher = make_patcher(part, device)
        setattr(part, _PATCHER, _Holder(patcher))
        return patcher

    def _take_off(self, part: torch.nn.Module) -> None:
        from comfy import model_management

        patcher = _held(part)
        loaded = model_management.current_loaded_models
        for entry in [entry for entry in loaded if patcher is not None and entry.model is patcher]:
            entry.model_unload()
            loaded.remove(entry)
        drop(part)
        model_management.soft_empty_cache()


def _may_not_stand_whole(part: torch.nn.Module) -> bool:
    """Whether ComfyUI was started with --novram: weights come when they are used.

    The VAE's are a tenth of what its work takes beside them, so it has no plan that fetches them.
    """
    from comfy import model_management

    is_novram = model_management.vram_state == model_management.VRAMState.NO_VRAM
    return is_novram and type(part).__name__ != _VAE


class _Holder:
    """Keeps a part's patcher alive, which ComfyUI remembers weakly; a copy of the part has none."""

    def __init__(self, patcher: ModelPatcher) -> None:
        self.patcher = patcher

    def __deepcopy__(self, memo: dict) -> None:
        return None


def _held(part: torch.nn.Module) -> ModelPatcher | None:
    holder = part.__dict__.get(_PATCHER)
    return holder and holder.patcher
