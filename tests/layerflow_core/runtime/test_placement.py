import pytest
import torch

from layerflow_core.errors import Cancelled, OutOfMemoryError
from layerflow_core.model.vae import STREAMED, VAE_MODES, WHOLE
from layerflow_core.pipeline import Run, make_layers
from layerflow_core.runtime import placement
from layerflow_core.runtime.devices import InPlaceDevices, OffloadingDevices
from layerflow_core.runtime.memory import NETWORK_PLANS
from layerflow_core.runtime.placement import Placement, offloaded_by_block
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene, render

SCENE = draw_scene(11, held_out=True)
RUN = Run(SCENE.prompts, {"blended": render(SCENE).blended}, SamplerSettings(2, "constant", 3.0), 4)


class Limited(InPlaceDevices):
    """Leaves parts where they are and says how much there is."""

    def __init__(self, free):
        self._free = free

    def free(self, part):
        return self._free


@pytest.fixture
def calls(quick_model, monkeypatch):
    """The network's calls by batch size; ``fail`` of them run out of memory first."""
    made, forward = [], type(quick_model.network).forward

    def counted(self, latents, context, timestep):
        made.append(len(latents))
        if counted.fail:
            counted.fail -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(self, latents, context, timestep)

    counted.fail = 0
    monkeypatch.setattr(type(quick_model.network), "forward", counted)
    return made, counted


def run_under(quick_model, plans, monkeypatch):
    monkeypatch.setattr(placement, "NETWORK_PLANS", tuple(plans))
    return make_layers(quick_model, RUN)


def same(a, b, tolerance=0.0):
    return all(
        (x - y).abs().max() <= tolerance for x, y in zip(a.clips().values(), b.clips().values())
    )


def test_every_plan_gives_the_same_layers(quick_model, monkeypatch):
    together, apart, by_block = (
        run_under(quick_model, [plan], monkeypatch) for plan in NETWORK_PLANS
    )
    assert same(apart, by_block), "fetching blocks is exact"
    assert same(together, apart, 2e-3), "a batch of two is computed in another order"


def test_out_of_memory_in_the_middle_of_sampling_costs_one_call(quick_model, calls, monkeypatch):
    made, network = calls
    whole = run_under(quick_model, NETWORK_PLANS[1:2], monkeypatch)
    made.clear()
    network.fail = 2
    fallen = run_under(quick_model, NETWORK_PLANS, monkeypatch)
    assert made == [2, 1] + [1] * 4, "the failed call is made again, nothing else"
    assert same(fallen, whole), "the smaller plan is exact"


def test_out_of_memory_in_decoding_keeps_the_latents(quick_model, calls, monkeypatch):
    made, _ = calls
    decode, modes = type(quick_model.vae).decode, []

    def failing(self, latents, layout, mode=WHOLE):
        modes.append((mode, latents.clone()))
        if mode is WHOLE:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return decode(self, latents, layout, mode)

    monkeypatch.setattr(type(quick_model.vae), "decode", failing)
    make_layers(quick_model, RUN)
    assert [mode for mode, _ in modes] == [WHOLE, STREAMED] and torch.equal(
        modes[0][1], modes[1][1]
    )
    assert made == [2] * 2, "nothing is sampled again"


def test_when_not_even_the_smallest_plan_fits(quick_model, calls):
    _, network = calls
    network.fail = 100
    with pytest.raises(OutOfMemoryError, match="transformer block by block"):
        make_layers(quick_model, RUN)
    network.fail = 0
    assert make_layers(quick_model, RUN).alpha.shape == (16, 1, 64, 96)


def test_what_is_free_decides(quick_model):
    device = torch.device("cpu")
    peaks = [
        placement.vae_peak(quick_model, quick_model.config.layout, mode, device)
        for mode in VAE_MODES
    ]
    assert peaks == sorted(peaks, reverse=True) and peaks[-1] < peaks[0]
    batches = [placement.network_peak(quick_model, batch, device) for batch in (2, 1)]
    assert batches[0] > batches[1]
    plans = {}
    for free in (10**10, 10):
        with (
            placement.for_network(Limited(free), quick_model) as network,
            placement.for_vae(Limited(free), quick_model, quick_model.config.layout) as vae,
        ):
            plans[free] = network.run(lambda plan: plan), vae.run(lambda mode: mode)
    assert plans == {
        10**10: (NETWORK_PLANS[0], VAE_MODES[0]),
        10: (NETWORK_PLANS[-1], VAE_MODES[-1]),
    }


def test_blocks_are_fetched_and_left_as_they_were(quick_model):
    network, before = (
        quick_model.network,
        {name: p.clone() for name, p in quick_model.network.named_parameters()},
    )
    forwards = {name for name, module in network.named_modules() if "forward" in module.__dict__}
    with offloaded_by_block(network, network.backbone, torch.device("cpu")):
        assert any("forward" in module.__dict__ for module in network.modules())
    assert {
        name for name, module in network.named_modules() if "forward" in module.__dict__
    } == forwards
    assert not any(hasattr(module, "_diffusers_hook") for module in network.modules())
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_cancel_gives_everything_back(quick_model):
    part = torch.nn.Linear(2, 2)
    released = []

    class Ledger(InPlaceDevices):
        def release(self, part):
            released.append(part)

    with pytest.raises(Cancelled), Placement("part", part, part, Ledger(), NETWORK_PLANS) as place:
        place.run(lambda plan: (_ for _ in ()).throw(Cancelled("stop")))
    assert released == [part]


def test_plain_devices_know_their_memory(quick_model):
    devices = OffloadingDevices("cpu")
    assert devices.free(quick_model.network) > 2**30 and devices.device(
        quick_model.network
    ) == torch.device("cpu")
