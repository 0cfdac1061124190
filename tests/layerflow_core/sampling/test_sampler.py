import pytest
import torch

from layerflow_core.errors import SamplingError
from layerflow_core.sampling.guidance import find_guidance
from layerflow_core.sampling.noise import INITIAL, LARGEST_SEED, POSTERIOR, STEPS, NoiseSource
from layerflow_core.sampling.sampler import SamplerSettings, denoise, sample
from layerflow_core.sampling.schedule import Schedule
from layerflow_core.sampling.solver import SOLVERS

SHAPE = (1, 3, 2, 4, 4)
SCHEDULE = Schedule()
TARGET = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


def perfect(x, timestep, guided):
    """A network that knows the clean latents: v from x at this timestep's level."""
    q = next(s.q for s in SCHEDULE.steps(perfect.count) if s.timestep == timestep)
    v = (q * x - TARGET) / (1 - q * q) ** 0.5
    return v, v


def run(settings, seed=0, predict=perfect, watch=None):
    perfect.count = settings.steps
    noise = NoiseSource(seed)
    return sample(predict, noise.initial(SHAPE), noise.per_step(SHAPE), SCHEDULE, settings, watch)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 200])
def test_a_perfect_network_is_followed_home(solver, steps):
    result = run(SamplerSettings(steps, "constant", 1.0, solver))
    assert torch.allclose(result, TARGET, atol=1e-3)


def test_ode_solver_converges_to_the_exact_flow():
    """For Gaussian data of std s the ODE's answer is known: x0 = s * initial noise."""
    s = 0.5

    def gaussian(x, timestep, guided):
        q = next(step.q for step in SCHEDULE.steps(gaussian.count) if step.timestep == timestep)
        sigma2 = 1 - q * q
        x0 = x * q * s * s / (q * q * s * s + sigma2)
        v = (q * x - x0) / sigma2**0.5
        return v, v

    errors = []
    for gaussian.count in (10, 40, 160):
        noise = NoiseSource(1)
        x = sample(
            gaussian,
            noise.initial(SHAPE),
            noise.per_step(SHAPE),
            SCHEDULE,
            SamplerSettings(gaussian.count, "constant", 1.0, "dpmpp_2m"),
        )
        errors.append(float((x - s * noise.initial(SHAPE)).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.06


def test_ode_draws_no_noise():
    noise = NoiseSource(0)

    def refuse(step):
        raise AssertionError("noise drawn")

    perfect.count = 4
    sample(perfect, noise.initial(SHAPE), refuse, SCHEDULE, SamplerSettings(4, solver="dpmpp_2m"))


def test_guidance_extrapolates():
    seen = []
    settings = SamplerSettings(1, "constant", 3.0)
    x = run(
        settings,
        predict=lambda x, t, guided: (x * 0 + 1, x * 0 + 2),
        watch=lambda step, x, x0: seen.append(x0),
    )
    assert torch.equal(x, seen[0]) and torch.allclose(x, torch.full(SHAPE, -1 + 3.0 * (-2 - -1)))


def test_where_guidance_does_nothing_only_the_prompts_are_asked():
    asked = []

    def one_branch(x, t, guided):
        asked.append(guided)
        return (perfect(x, t, guided)[0] if guided else None), perfect(x, t, guided)[1]

    assert (
        torch.allclose(
            run(SamplerSettings(3, "constant", 1.0), predict=one_branch), TARGET, atol=1e-3
        )
        and asked == [False] * 3
    )
    run(SamplerSettings(3, "constant", 1.5), predict=one_branch)
    assert asked[3:] == [True] * 3


def test_same_seed_same_bits_whatever_ran_before():
    settings = SamplerSettings(5)
    first = run(settings, 3)
    torch.manual_seed(99), torch.randn(7)
    run(SamplerSettings(2), 4)
    assert torch.equal(run(settings, 3), first)
    assert not torch.equal(NoiseSource(3).initial(SHAPE), NoiseSource(4).initial(SHAPE))


def test_a_cancelled_run_leaves_no_trace():
    settings, calls = SamplerSettings(5), []

    def stop(step, x, x0):
        calls.append(step.index)
        if step.index == 1:
            raise KeyboardInterrupt

    expected = run(settings, 3)
    with pytest.raises(KeyboardInterrupt):
        run(settings, 3, watch=stop)
    assert calls == [0, 1]
    assert torch.equal(run(settings, 3), expected)


def test_noise_streams_and_windows_differ():
    draws = [
        torch.randn(8, generator=NoiseSource(s, w).generator(stream))
        for s in (0, 1, 2)
        for w in (0, 1)
        for stream in (POSTERIOR, INITIAL, STEPS)
    ]
    assert len({tuple(d.tolist()) for d in draws}) == len(draws)


def test_denoise_inverts_v():
    x0, eps, q = torch.randn(9), torch.randn(9), 0.3
    x, v = q * x0 + (1 - q * q) ** 0.5 * eps, q * eps - (1 - q * q) ** 0.5 * x0
    assert torch.allclose(denoise(v, x, q), x0, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 201},
        {"steps": 10**9},
        {"guidance": "x"},
        {"solver": "x"},
        {"scale": -1},
        {"scale": float("nan")},
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(SamplingError):
        SamplerSettings(**wrong)


def test_seeds_of_comfyui_are_taken():
    seeds = (0, 1, 2**31, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1)
    draws = {seed: tuple(NoiseSource(seed).initial((8,)).tolist()) for seed in seeds}
    assert LARGEST_SEED == 2**64 - 1 and len(set(draws.values())) == len(seeds)
    # As before for what was taken before.
    generator = torch.Generator().manual_seed((2**63 - 1) * 3 % 2**63 + INITIAL)
    assert draws[2**63 - 1] == tuple(torch.randn(8, generator=generator).tolist())


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(SamplingError, match="seed"):
        NoiseSource(seed)


def test_guidance_near_one_computes_one_branch():
    asked = []

    def predict(x, timestep, guided):
        asked.append(guided)
        v, _ = perfect(x, timestep, guided)
        return (v if guided else None), v

    settings = SamplerSettings(20, "dynamic", 6.0)
    run(settings, predict=predict)
    assert all(asked)
    asked.clear()
    run(SamplerSettings(20, "dynamic", 6.0, guidance_margin=0.5), predict=predict)
    weights = [find_guidance("dynamic")(step, 6.0) for step in SCHEDULE.steps(20)]
    assert asked == [abs(weight - 1) > 0.5 for weight in weights] and 0 < sum(asked) < 20
    with pytest.raises(SamplingError, match="guidance margin -1"):
        SamplerSettings(guidance_margin=-1)
