"""A part of a model as ComfyUI's loader sees it: on the device whole, or not at all."""

from __future__ import annotations

import torch
from comfy.model_patcher import ModelPatcher

from ..layerflow_core.model.residence import bring, drop

_ALL = 1e32  # bytes, ComfyUI's own figure for a load without a limit


class PartPatcher(ModelPatcher):
    """Brings copies of the weights to the device and drops them again; the originals stay in RAM.

    ComfyUI loads as many weights as its own budget allows and widens the others when they are used. Only its own
    layers know how to do that; those of diffusers and transformers meet tensors of two devices. So the budget is not
    asked here: a part that does not fit raises what torch raises. This is also why ComfyUI's dynamic VRAM is not used.
    """

    def __init__(self, part: torch.nn.Module, device: torch.device) -> None:
        super().__init__(_ModuleWrapper(part), device, torch.device("cpu"))

    @property
    def part(self) -> torch.nn.Module:
        return self.model.part

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        bring(self.part, device_to)
        return super().partially_load(device_to, _ALL, force_patch_weights)

    def partially_unload(self, device_to, memory_to_free=0, *_, **__):
        return 0  # nothing was freed, so ComfyUI takes all of it off

    def detach(self, unpatch_all=True):
        if unpatch_all:
            drop(self.part)
        return super().detach(unpatch_all)


class _ModuleWrapper(torch.nn.Module):
    """Takes the metadata that ComfyUI writes onto a model, some under names that diffusers and
    transformers keep for themselves.
    """

    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self.part = part
