"""A part of a model as ComfyUI's loader sees it: on the device whole, or not at all."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

from ..layerflow_core.model.residence import bring, drop

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

_ALL = 1e32  # bytes, ComfyUI's own figure for a load without a limit


def make_patcher(part: torch.nn.Module, device: torch.device) -> ModelPatcher:
    """ComfyUI's handle of a part that works on a device and otherwise stands in RAM."""
    return _patcher_class()(_ModuleWrapper(part), device, torch.device("cpu"))


@cache
def _patcher_class() -> type:
    """Made when it is needed first: importing ComfyUI's classes is no business of an import of this pack."""
    from comfy.model_patcher import ModelPatcher

    return type("PartPatcher", (WholeOrNothing, ModelPatcher), {})


class WholeOrNothing:
    """What is other than in ``ModelPatcher``, whose methods come after these.

    It brings copies of the weights to the device and drops them again; the originals stay in RAM. ComfyUI loads as
    many weights as its own budget allows and fetches the others when they are used. Only its own layers know how to do
    that; those of diffusers and transformers meet tensors of two devices. So the budget is not asked here: a part that
    does not fit raises what torch raises. This is also why ComfyUI's dynamic VRAM is not used.
    """

    def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
        bring(self.model.part, device_to)
        return super().partially_load(device_to, _ALL, force_patch_weights)

    def partially_unload(self, device_to, memory_to_free=0, *_, **__):
        return 0  # nothing was freed, so ComfyUI takes all of it off

    def detach(self, unpatch_all=True):
        if unpatch_all:
            drop(self.model.part)
        return super().detach(unpatch_all)


class _ModuleWrapper(torch.nn.Module):
    """Takes the metadata that ComfyUI writes onto a model, some under names that diffusers and
    transformers keep for themselves.
    """

    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self.part = part
