import copy

import pytest
import torch

from layerflow_core.errors import Cancelled, OutOfMemoryError, PartlyLoadedError
from layerflow_core.model.residence import stands_on
from layerflow_core.model.vae import FINELY_TILED, ON_CPU, STREAMED, VAE_MODES, WHOLE
from layerflow_core.pipeline import Run, make_layers
from layerflow_core.runtime import devices as devices_module
from layerflow_core.runtime import placement
from layerflow_core.runtime.devices import InPlaceDevices, OffloadingDevices
from layerflow_core.runtime.memory import NETWORK_PLANS
from layerflow_core.runtime.peaks import network_peak, vae_peak
from layerflow_core.runtime.placement import Placement
from layerflow_core.sampling.sampler import SamplerSettings
from layerflow_core.toy.world import draw_scene, render

SCENE = draw_scene(11, held_out=True)
RUN = Run(SCENE.prompts, {"blended": render(SCENE).blended}, SamplerSettings(2, "constant", 3.0), 4)

CPU = torch.device("cpu")
ROUNDING = 1e-3
"""Kernels of some CPUs round by how the weights are aligned, and those that are fetched lie elsewhere."""
ON_CARD = [mode for mode in VAE_MODES if not mode.on_cpu]


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
    assert same(apart, by_block, ROUNDING), "fetching blocks is exact but for where weights lie"
    assert same(together, apart, 2e-3), "a batch of two is computed in another order"


def test_out_of_memory_in_the_middle_of_sampling_costs_one_call(quick_model, calls, monkeypatch):
    made, network = calls
    whole = run_under(quick_model, NETWORK_PLANS[1:2], monkeypatch)
    made.clear()
    network.fail = 2
    fallen = run_under(quick_model, NETWORK_PLANS, monkeypatch)
    assert made == [2, 1] + [1] * 4, "the failed call is made again, nothing else"
    assert same(fallen, whole, ROUNDING), "the smaller plan is exact but for where weights lie"


def test_out_of_memory_in_decoding_keeps_the_latents(quick_model, calls, monkeypatch):
    made, _ = calls
    decode, modes = type(quick_model.vae).decode, []

    def failing(self, latents, layout, mode=WHOLE, known=()):
        modes.append((mode, latents.clone()))
        if mode is WHOLE:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return decode(self, latents, layout, mode, known)

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
    peaks = [vae_peak(quick_model, quick_model.config.layout, mode, device) for mode in ON_CARD]
    assert peaks == sorted(peaks, reverse=True) and peaks[-1] < peaks[0]
    batches = [network_peak(quick_model, batch, device) for batch in (2, 1)]
    assert batches[0] > batches[1]
    plans = {}
    for free in (10**10, 10):
        with (
            placement.for_network(Limited(free), quick_model) as network,
            placement.for_vae(Limited(free), quick_model, quick_model.config.layout) as vae,
        ):
            plans[free] = network.run(lambda plan: plan), vae.run(lambda mode: mode)
    assert plans == {
        10**10: (NETWORK_PLANS[0], WHOLE),
        10: (NETWORK_PLANS[-1], FINELY_TILED),
    }


def test_a_cancel_gives_everything_back(quick_model):
    part = torch.nn.Linear(2, 2)
    released = []

    class Ledger(InPlaceDevices):
        def release(self, part):
            released.append(part)

    with pytest.raises(Cancelled), Placement("part", part, part, Ledger(), NETWORK_PLANS) as place:
        place.run(lambda plan: (_ for _ in ()).throw(Cancelled("stop")))
    assert released == [part]


class OtherDevice(Limited):
    """A card that is not there, with little memory."""

    def device(self, part):
        return torch.device("meta")


def test_a_vae_that_does_not_fit_decodes_on_the_cpu_and_says_so(quick_model, caplog):
    layout = quick_model.config.layout
    latents = torch.randn(1, layout.frames, *quick_model.config.network.latent_shape)
    expected = quick_model.vae.decode(latents, layout, FINELY_TILED)
    with placement.for_vae(OtherDevice(10), quick_model, layout) as place:
        found = place.run(lambda mode: (mode, quick_model.vae.decode(latents, layout, mode)))
    assert found[0] == ON_CPU
    assert all(torch.equal(found[1][name], clip) for name, clip in expected.items())
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "on the CPU, which takes minutes" in warnings[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_cpu_decodes_in_numbers_that_it_has(quick_model, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    vae = copy.deepcopy(quick_model.vae.vae).to(dtype)
    before = list(vae.parameters())
    devices = OtherDevice(10)
    with Placement("VAE", vae, vae, devices, [ON_CPU]) as place:
        assert place.run(lambda mode: vae.dtype) == torch.float32
    assert all(ours is theirs for ours, theirs in zip(vae.parameters(), before))


class Failing(Limited):
    """Loads the first parts that are asked for in vain."""

    def __init__(self, error):
        super().__init__(10**12)
        self._error = error
        self.released = []

    def use(self, part, beside):
        raise self._error

    def release(self, part):
        self.released.append(part)


@pytest.mark.parametrize(
    "error",
    [
        PartlyLoadedError("got only some of it"),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_part_that_cannot_be_loaded_whole_works_under_the_next_plan(quick_model, error):
    devices = Failing(error)
    part = quick_model.network
    holder = part.backbone
    with Placement("transformer", part, holder, devices, NETWORK_PLANS) as place:
        assert place.run(lambda plan: plan) == NETWORK_PLANS[-1]
    assert devices.released == [part] * 2


def test_plain_devices_know_their_memory(quick_model):
    devices = OffloadingDevices("cpu")
    assert devices.free(quick_model.network) > 2**30
    assert devices.device(quick_model.network) == CPU


class Card:
    """torch's meta device as a card of so many bytes, for ``OffloadingDevices``."""

    def __init__(self, size, monkeypatch):
        self.parts = [torch.nn.Linear(100, 100, bias=False) for _ in range(3)]
        self.device = torch.device("meta")
        self._size = size
        monkeypatch.setitem(devices_module._FREE_BYTES, "meta", self._free)

    def _free(self, device):
        return self._size - 40000 * sum(self.there())

    def there(self):
        return [stands_on(part, self.device) for part in self.parts]


def test_parts_stay_on_a_plain_device_until_others_need_the_room(monkeypatch):
    card = Card(100_000, monkeypatch)
    devices = OffloadingDevices("meta")
    first, second, third = card.parts
    before = first.weight
    devices.use(first, 0)
    devices.release(first)
    devices.use(second, 10_000)
    assert card.there() == [True, True, False]
    assert devices.free(third) == 100_000
    devices.use(first, 0)
    devices.use(third, 10_000)
    assert card.there() == [True, False, True], "who waits longest goes"
    devices.make_room(first, 30_000)
    assert card.there() == [False, False, True]
    assert first.weight is before
    devices.make_room(second, None)
    assert card.there() == [False, False, False]
