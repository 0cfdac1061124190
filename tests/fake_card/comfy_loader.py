"""ComfyUI's own loader and the pack's parts on a card that is not there, as JSON on stdout.

Run by ComfyUI's python with ComfyUI on PYTHONPATH: ``python comfy_loader.py``. The card is torch's meta device, which
takes copies of any size without memory; how much is free there is said by each case.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from comfy import cli_args
from torch import nn

cli_args.args.cpu = True  # what comes next asks for a card when it is imported
from comfy import model_management  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402

PACK = Path(__file__).parents[2]
GIB = 1024**3
CARD = torch.device("meta")
LINUX = 0.39  # what ComfyUI reserves, GiB
WINDOWS = 0.586
NETWORK = "LayerFlowNetwork"
TEXT = "T5EncoderModel"
VAE = "AutoencoderKLCogVideoX"


@dataclass(frozen=True)
class Case:
    """A part, a card and what is free there; sizes in GiB.

    Args:
        part: its class.
        weights, beside: of the part, and of its work under the first plan that is tried.
        state: how ComfyUI was started, as its ``VRAMState`` says.
    """

    title: str
    part: str
    weights: float
    beside: float
    free: float
    reserved: float = LINUX
    state: str = "NORMAL_VRAM"


# What the work of a plan takes beside the weights at true size, GiB (benchmarks/README.md).
BESIDE = {
    "whole on the device, both branches at once": 2.1,
    "whole on the device, one branch at a time": 1.1,
    "block by block, one branch at a time": 1.1,
    "whole on the device": 0.25,
    "block by block": 0.25,
    "streamed": 14.7,
    "streamed in tiles": 3.8,
    "streamed in small tiles": 2.1,
}

CASES = (
    Case("24 GB, transformer", NETWORK, 3.3, 2.1, 22),
    Case("24 GB, transformer, --novram", NETWORK, 3.3, 2.1, 22, state="NO_VRAM"),
    Case("24 GB, transformer, --lowvram", NETWORK, 3.3, 2.1, 22, state="LOW_VRAM"),
    Case("8 GB, transformer, just fits", NETWORK, 3.3, 2.1, 5.95),
    Case("8 GB, Windows, transformer, just fits", NETWORK, 3.3, 2.1, 5.95, WINDOWS),
    Case("6 GB, fp8 transformer, just fits", NETWORK, 1.7, 2.1, 4.19),
    Case("6 GB, Windows, fp8 transformer", NETWORK, 1.7, 2.1, 4.19, WINDOWS),
    Case("6 GB, Windows, fp8 transformer, more free", NETWORK, 1.7, 2.1, 4.35, WINDOWS),
    Case("6 GB, fp8 transformer, one branch", NETWORK, 1.7, 1.1, 3.10),
    Case("12 GB, T5, just fits", TEXT, 8.9, 0.25, 10.07),
    Case("12 GB, Windows, T5, just fits", TEXT, 8.9, 0.25, 10.10, WINDOWS),
    Case("12 GB, Windows, T5", TEXT, 8.9, 0.25, 10.25, WINDOWS),
    Case("16 GB, Windows, T5, 6 GB in use", TEXT, 8.9, 0.25, 10.30, 0.684),
    Case("6 GB, Windows, VAE in tiles, just fits", VAE, 0.4, 3.8, 4.65, WINDOWS),
    Case("6 GB, VAE in tiles, 4.5 free", VAE, 0.4, 3.8, 4.5),
    Case("4 GB, VAE in tiles, 3.5 free", VAE, 0.4, 3.8, 3.5),
    Case("6 GB, Windows, VAE in tiles, 4.6 free", VAE, 0.4, 3.8, 4.6, WINDOWS),
    Case("2 GB, VAE in tiles", VAE, 0.4, 3.8, 1.5),
    Case("24 GB, VAE streamed, --reserve-vram 2", VAE, 0.4, 14.7, 16.7, 2.0),
    Case("12 GB, transformer, --reserve-vram 2", NETWORK, 3.3, 2.1, 6.5, 2.0),
)


class FakeCard:
    """How much memory the card has; what is loaded there counts."""

    def __init__(self) -> None:
        self.size = 0.0

    def free(self, device: torch.device | None = None, torch_free_too: bool = False):
        entries = [entry for entry in model_management.current_loaded_models if entry.model]
        loaded = sum(entry.model_loaded_memory() for entry in entries)
        free = int(self.size - loaded)
        return (free, 0) if torch_free_too else free

    def install(self) -> None:
        model_management.cpu_state = model_management.CPUState.GPU
        model_management.get_torch_device = lambda: CARD
        model_management.should_use_fp16 = lambda *_, **__: True
        model_management.get_free_memory = self.free
        model_management.soft_empty_cache = lambda *_, **__: None
        model_management.MIN_WEIGHT_MEMORY_RATIO = 0.0  # as on NVIDIA
        model_management.lowvram_available = True

    def start(self, free: float, reserved: float = LINUX, state: str = "NORMAL_VRAM") -> None:
        """An empty card with ComfyUI started anew; GiB."""
        model_management.current_loaded_models.clear()
        self.size = free * GIB
        model_management.EXTRA_RESERVED_VRAM = int(reserved * GIB)
        model_management.vram_state = model_management.VRAMState[state]


def import_pack() -> types.SimpleNamespace:
    """The few modules that are needed, under a package's name, as ComfyUI imports them."""
    for name, folder in (("pack", PACK), ("pack.nodes", PACK / "nodes")):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return types.SimpleNamespace(
        devices=importlib.import_module("pack.nodes.comfy_devices"),
        placement=importlib.import_module("pack.layerflow_core.runtime.placement"),
        memory=importlib.import_module("pack.layerflow_core.runtime.memory"),
        vae=importlib.import_module("pack.layerflow_core.model.vae"),
        residence=importlib.import_module("pack.layerflow_core.model.residence"),
    )


def make_part(name: str, size: float, blocks: int = 50) -> nn.Module:
    """Matrices in bf16 of so many GiB together, which nobody touches, and a table beside them."""
    rows = int(size * GIB / blocks / 2 / 1024)
    part = type(name, (nn.Module,), {})()
    with torch.device("meta"):
        matrices = [nn.Linear(rows, 1024, bias=False, dtype=torch.bfloat16) for _ in range(blocks)]
    part.blocks = nn.ModuleList(matrices)
    part.table = nn.Parameter(torch.empty(1000), requires_grad=False)
    for matrix in matrices:
        weight = torch.empty(matrix.weight.shape, dtype=torch.bfloat16)
        matrix.weight = nn.Parameter(weight, requires_grad=False)
    return part


def on_card(part: nn.Module) -> float:
    """GiB."""
    return sum(tensor.nbytes for tensor in part.parameters() if tensor.device == CARD) / GIB


class Trials:
    """What happens to parts on the fake card."""

    def __init__(self) -> None:
        self.card = FakeCard()
        self.card.install()
        self.pack = import_pack()
        self.devices = self.pack.devices.ComfyDevices()

    def place(self, part: nn.Module, beside: float) -> tuple[str, float]:
        """The plan that a part works under, and GiB of it on the card meanwhile."""
        name = type(part).__name__
        plans = [plan for plan in self._plans(name) if BESIDE.get(plan.name, 0) <= beside]

        def peak(plan: object) -> int:
            return int(BESIDE[plan.name] * GIB)

        with self.pack.placement.Placement(
            name, part, part, self.devices, plans, peak
        ) as placement:
            return placement.run(lambda plan: (plan.name, on_card(part)))

    def _plans(self, name: str) -> Sequence[object]:
        if name == VAE:
            return self.pack.vae.VAE_MODES[1:]
        return self.pack.memory.TEXT_PLANS if name == TEXT else self.pack.memory.NETWORK_PLANS

    def run(self, case: Case) -> dict[str, object]:
        self.card.start(case.free, case.reserved, case.state)
        part = make_part(case.part, case.weights)
        plan, there = self.place(part, case.beside)
        size = self.pack.memory.size_of(part) / GIB
        device = str(self.devices.device(part))
        return {"title": case.title, "plan": plan, "size": size, "there": there, "device": device}

    def loader_that_leaves_a_block(self) -> str:
        """The plan, where another pack's loader leaves a block behind."""
        self.card.start(22)
        part = make_part(NETWORK, 0.1)
        load = model_management.load_models_gpu

        def partial_load(models, **options):
            load(models, **options)
            part.blocks[3].to_empty(device="cpu")

        model_management.load_models_gpu = partial_load
        plan, _ = self.place(part, 2.1)
        model_management.load_models_gpu = load
        return plan

    def error_while_loading(self) -> dict[str, object]:
        """GiB that stay on the card, and the plan, where memory runs out in the middle of a load."""
        self.card.start(22)
        part = make_part(NETWORK, 0.1)
        copy = self.pack.residence._copy
        calls = []

        def failing(*inputs):
            calls.append(inputs)
            if len(calls) == 5:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return copy(*inputs)

        self.pack.residence._copy = failing
        try:
            self.devices.use(part, 0)
        except torch.cuda.OutOfMemoryError:
            pass
        self.pack.residence._copy = copy
        entries = len(model_management.current_loaded_models)
        return {"there": on_card(part), "entries": entries, "plan": self.place(part, 2.1)[0]}

    def dead_entry(self) -> float:
        """GiB free beside a model that is gone from ComfyUI's list but for its name."""
        self.card.start(4, reserved=0)
        other = make_part("Other", 0.1)
        patcher = ModelPatcher(other, CARD, torch.device("cpu"))
        patcher.detach = lambda *_, **__: None
        model_management.load_models_gpu([patcher])
        del patcher
        gc.collect()
        assert model_management.current_loaded_models[0].is_dead()
        return self.devices.free(other) / GIB

    def parts_that_stay(self) -> dict[str, object]:
        """GiB of each part on the card after each one's work."""
        self.card.start(12)
        network = make_part(NETWORK, 3.3)
        text = make_part(TEXT, 8.9)
        before = [id(tensor) for tensor in network.parameters()]
        seen = []
        for part, beside in ((network, 2.1), (network, 2.1), (text, 0.25), (network, 2.1)):
            self.place(part, beside)
            seen.append([round(on_card(network), 1), round(on_card(text), 1)])
        model_management.free_memory(1e30, CARD)
        after = [id(tensor) for tensor in network.parameters()]
        return {"seen": seen, "originals are back": before == after}

    def flags(self) -> dict[str, list[str]]:
        """Devices of network, text encoder and VAE by flag."""
        parts = [make_part(name, 0.01) for name in (NETWORK, TEXT, VAE)]
        found = {}
        for flag, state, cpu_vae in (
            ("none", "NORMAL_VRAM", False),
            ("--lowvram", "LOW_VRAM", False),
            ("--novram", "NO_VRAM", False),
            ("--cpu-vae", "NORMAL_VRAM", True),
        ):
            self.card.start(22, state=state)
            model_management.args.cpu_vae = cpu_vae
            found[flag] = [str(self.devices.device(part)) for part in parts]
        model_management.args.cpu_vae = False
        return found


def main() -> None:
    logging.disable(logging.CRITICAL)
    trials = Trials()
    others: Sequence[Callable[[], object]] = (
        trials.loader_that_leaves_a_block,
        trials.error_while_loading,
        trials.dead_entry,
        trials.parts_that_stay,
        trials.flags,
    )
    report = {"cases": [trials.run(case) for case in CASES]}
    report |= {trial.__name__: trial() for trial in others}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
