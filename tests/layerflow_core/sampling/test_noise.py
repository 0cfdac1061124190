import pytest
import torch

from layerflow_core.errors import SamplingError
from layerflow_core.sampling.noise import INITIAL, LARGEST_SEED, POSTERIOR, STEPS, NoiseSource

SHAPE = (2, 64)


def test_a_seed_gives_the_same_noise_again_and_another_seed_other_noise():
    first = NoiseSource(5).initial(SHAPE)
    assert torch.equal(NoiseSource(5).initial(SHAPE), first)
    assert not torch.equal(NoiseSource(6).initial(SHAPE), first)


def test_streams_do_not_shift_each_other():
    source = NoiseSource(5)
    source.generator(POSTERIOR)
    draw = source.per_step(SHAPE)
    steps = [draw(number) for number in range(3)]
    assert torch.equal(source.initial(SHAPE), NoiseSource(5).initial(SHAPE))
    assert not torch.equal(steps[0], steps[1])
    longer = NoiseSource(5).per_step(SHAPE)
    assert all(torch.equal(longer(number), noise) for number, noise in enumerate(steps))


def test_no_two_streams_windows_or_neighbours_are_alike():
    drawn = {}
    for seed in (0, 1, 2, 12345, 2**63 - 1, 2**63, 2**63 + 1, LARGEST_SEED):
        for window in range(3):
            for stream in (POSTERIOR, INITIAL, STEPS):
                generator = NoiseSource(seed, window).generator(stream)
                noise = torch.randn(4, generator=generator)
                drawn[seed, window, stream] = tuple(noise.tolist())
    assert len(set(drawn.values())) == len(drawn)


def test_noise_is_standard_normal():
    noise = NoiseSource(3).initial((100, 100))
    assert noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 0.03 and abs(float(noise.std()) - 1) < 0.03


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(SamplingError, match="got seed .*, expected 0 to"):
        NoiseSource(seed)
