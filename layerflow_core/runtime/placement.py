"""Parts at work: on their device under the plan that fits, and out of the way afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..layout import Layout
from ..model.attention import plain_kernel
from ..model.fp8 import widened
from ..model.loading import LayerFlowModel
from ..model.text import TextEncoder
from ..model.vae import VAE_MODES, Decoder, VaeMode, set_mode
from .devices import Devices
from .memory import NETWORK_PLANS, TEXT_PLANS, FallbackPlans, PartPlan, count_peak, size_at_work

T = TypeVar("T")
_HOOKS = "_diffusers_hook"  # diffusers' name for a module's registry of hooks
_SPARE = 1.1  # memory is never in one piece
TEXT_PEAK = 256 * 1024**2  # a few hundred tokens: small beside T5's weights


def for_text(devices: Devices, text: TextEncoder) -> Placement:
    return Placement(
        "text encoder", text.t5, text.t5.encoder, devices, TEXT_PLANS, lambda plan: TEXT_PEAK
    )


def for_network(devices: Devices, model: LayerFlowModel, kept: int = 0) -> Placement:
    """The transformer at work; ``kept`` bytes stay allocated from one call to the next."""
    network = model.network
    device = devices.device(network)

    def peak(plan: PartPlan) -> int:
        branches = 2 if plan.branches_together else 1
        return network_peak(model, branches, device) + kept

    return Placement("transformer", network, network.backbone, devices, NETWORK_PLANS, peak)


def for_vae(devices: Devices, model: LayerFlowModel, layout: Layout) -> Placement:
    vae = model.require_vae().vae

    def peak(mode: VaeMode) -> int:
        return vae_peak(model, layout, mode, devices.device(vae))

    return Placement("VAE", vae, vae, devices, VAE_MODES, peak)


def network_peak(model: LayerFlowModel, batch: int, device: torch.device) -> int:
    """Bytes that one call allocates beside the weights."""
    key = ("network", batch, device)
    return _remembered(model, key, lambda: _network_peak(model, batch, device))


def vae_peak(model: LayerFlowModel, layout: Layout, mode: VaeMode, device: torch.device) -> int:
    """Bytes that decoding allocates beside the weights; encoding takes less."""
    key = ("vae", layout.name, mode, device)
    return _remembered(model, key, lambda: _vae_peak(model, layout, mode, device))


def _remembered(model: LayerFlowModel, key: tuple, count: Callable[[], int]) -> int:
    if key not in model.peaks:
        model.peaks[key] = count()
    return model.peaks[key]


def _network_peak(model: LayerFlowModel, batch: int, device: torch.device) -> int:
    config = model.config
    dtype = model.network.position_table.dtype
    latents = (batch, config.layout.frames, *config.network.latent_shape)
    text = (batch, config.text_length, config.network.text_embed_dim)

    def call(network: nn.Module) -> Tensor:
        return network(
            torch.zeros(latents, dtype=dtype), torch.zeros(text, dtype=dtype), torch.zeros(batch)
        )

    with plain_kernel(model.network.backbone):
        return count_peak(model.network, call, device)


def _vae_peak(model: LayerFlowModel, layout: Layout, mode: VaeMode, device: torch.device) -> int:
    vae = model.require_vae().vae
    size = model.config.network
    frames = max(span.stop - span.start for span in layout.vae_spans)
    shape = (1, size.latent_channels, frames, size.latent_height, size.latent_width)
    set_mode(vae, mode, (size.latent_height, size.latent_width))

    def decode(decoder: nn.Module) -> Tensor:
        return decoder(torch.zeros(shape, dtype=vae.dtype))

    return count_peak(Decoder(vae), decode, device)


class Placement:
    """A part at work under one of its plans; leaving it gives the memory back, also after an error or a cancel.

    Args:
        name: for messages.
        holder: the module within the part that has the list of blocks, which can be fetched one by
            one, as a direct child.
        peak: bytes that the work of a plan takes beside the weights.
    """

    def __init__(
        self,
        name: str,
        part: nn.Module,
        holder: nn.Module,
        devices: Devices,
        plans: Sequence[PartPlan | VaeMode],
        peak: Callable[[Any], int] = lambda plan: 0,
    ) -> None:
        self._part = part
        self._holder = holder
        self._devices = devices
        self._peak = peak
        self._stack = ExitStack()
        self._placed = None
        self._blocks = _blocks_of(holder)
        free = devices.free(part)
        self._fallbacks = FallbackPlans(name, plans, self._need, free)
        self._beside = (lambda plan: 0) if free is None else peak
        self.device = devices.device(part)

    def run(self, work: Callable[[Any], T]) -> T:
        """Work under the plan in use; out of memory continues with the next. Raises OutOfMemoryError."""
        return self._fallbacks.run(lambda plan: self._under(plan, work))

    def __enter__(self) -> Placement:
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _need(self, plan: PartPlan | VaeMode) -> int:
        return math.ceil((size_at_work(self._part, self._blocks, plan) + self._peak(plan)) * _SPARE)

    def _under(self, plan: PartPlan | VaeMode, work: Callable[[Any], T]) -> T:
        if self._placed != plan.by_block:
            self._stack.close()
            self._stack.enter_context(self._resident(plan))
            self._stack.enter_context(widened(self._part))
            self._placed = plan.by_block
        return work(plan)

    @contextmanager
    def _resident(self, plan: PartPlan | VaeMode) -> Iterator[None]:
        if plan.by_block:
            self._devices.make_room(self._part, self._need(plan))
            with offloaded_by_block(self._part, self._holder, self.device):
                yield
            return
        self._devices.use(self._part, self._beside(plan))
        try:
            yield
        finally:
            self._devices.release(self._part)


def _blocks_of(holder: nn.Module) -> list[nn.Module]:
    lists = [child for child in holder.children() if isinstance(child, nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


@contextmanager
def offloaded_by_block(part: nn.Module, holder: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside this context the holder's blocks come to the device one by one as they are called.

    The rest stands there.
    """
    from diffusers.hooks import apply_group_offloading

    ram = torch.device("cpu")
    before = {
        module: list(registry.hooks)
        for module in holder.modules()
        if (registry := module.__dict__.get(_HOOKS))
    }
    apply_group_offloading(
        holder,
        device,
        ram,
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=device.type == "cuda",
    )
    inside = {id(t) for t in (*holder.parameters(), *holder.buffers())}
    outside = [t for t in (*part.parameters(), *part.buffers()) if id(t) not in inside]
    try:
        for tensor in outside:
            tensor.data = tensor.data.to(device)
        yield
    finally:
        for module in holder.modules():
            _remove_hooks(module, before.get(module, ()))
        part.to(ram)


def _remove_hooks(module: nn.Module, kept: Sequence[str]) -> None:
    if (registry := module.__dict__.get(_HOOKS)) is None:
        return
    for name in reversed(list(registry.hooks)):
        if name not in kept:
            registry.remove_hook(name, recurse=False)
    if not registry.hooks:
        del module.__dict__[_HOOKS]
        del module.forward  # what the hooks put before the class's own
