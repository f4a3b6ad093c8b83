"""Every sampler against a case with an exact answer: Gaussian data.

For x0 ~ N(mean, spread**2) the ideal denoiser and the probability-flow ODE are known in closed form, so the
error and its order can be measured.  New samplers are covered by being in SAMPLERS.
"""

import dataclasses
from itertools import pairwise

import pytest
import torch

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.gaussian import posterior
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.samplers import DEFAULT_ETA, SAMPLERS, USES_ETA, ancestral_step
from ldm.diffusion.schedule import (
    FINAL_SIGMAS,
    SPACINGS,
    NoiseSchedule,
    rescale_zero_terminal_snr,
    sampling_sigmas,
    scaled_linear_betas,
)
from ldm.trace import Prediction

MEAN, SPREAD = 0.3, 0.7
SD = NoiseSchedule.from_betas(scaled_linear_betas())
ZERO_TERMINAL = NoiseSchedule(rescale_zero_terminal_snr(SD.alphas_cumprod))
ORDER = {"heun": 2, "dpmpp_2m": 2}  # of the error in the step; the others are 1

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
deterministic = pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "ddpm"])


class Ideal:
    """Knows the answer.  Counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def __call__(self, x, sigma):
        self.asked += 1
        x0 = MEAN + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - MEAN)
        return Prediction(x0, x0)

    def timestep(self, sigma):
        return SD.timestep(sigma)


def exact(x, sigma, sigma_next):
    """Where the probability-flow ODE takes x."""
    return MEAN + (x - MEAN) * ((SPREAD**2 + sigma_next**2) / (SPREAD**2 + sigma**2)) ** 0.5


def no_noise(draw):
    raise AssertionError(f"asked for draw {draw}")


def start(*shape, scale=10.0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * scale


def run(name, x, sigmas, eta=0.0, noise=no_noise, history=(), denoise=None):
    return list(SAMPLERS[name](denoise or Ideal(), x, sigmas, eta, noise, history))


def network_denoiser(batch_size=1, schedule=SD, prediction_type="v", **changes):
    """A denoiser around a small random network, with guidance and rescale."""
    weight = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(1)) / 6

    def network(x, t, context):
        shift = context.mean(dim=(1, 2))[:, None, None, None] + t[:, None, None, None] / 1000
        return torch.tanh(torch.nn.functional.conv2d(x, weight.to(x), padding=1) + shift), ()

    context = torch.linspace(-1, 1, batch_size * 6).reshape(batch_size, 2, 3)
    arguments = {"uncond": -context, "cfg_scale": 3.0, "cfg_rescale": 0.7, **changes}
    return Denoiser(network, schedule, prediction_type, context, **arguments)


@deterministic
def test_more_steps_are_closer_to_the_exact_solution(name):
    def error(steps):
        x = start(1, 4, 8, 8)
        sigmas = torch.logspace(1, -0.3, steps + 1, dtype=torch.float64)  # stops early: the ODE's error alone
        last = run(name, x, sigmas)[-1]
        return (last.x_next - exact(x, 10, sigmas[-1].item())).abs().max().item()

    order = ORDER.get(name, 1)
    assert error(100) / error(200) == pytest.approx(2**order, rel=0.1)
    assert error(200) / error(400) == pytest.approx(2**order, rel=0.05)


@deterministic
def test_running_the_other_way_finds_the_noise_of_a_picture(name):
    x0 = start(1, 4, 8, 8, scale=1.0)
    sigmas = torch.logspace(1, -1, 201, dtype=torch.float64)
    noisy = run(name, x0, sigmas.flip(0))[-1].x_next
    tolerance = 0.1 if ORDER.get(name, 1) == 1 else 1e-3
    torch.testing.assert_close(noisy, exact(x0, 0.1, 10.0), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(run(name, noisy, sigmas)[-1].x_next, x0, rtol=0, atol=2 * tolerance)


@every_sampler
@pytest.mark.parametrize("final_sigma", FINAL_SIGMAS)
def test_pictures_have_the_distribution_of_the_data(name, final_sigma):
    sigmas = sampling_sigmas(SD, 200, "trailing", final_sigma)
    draws = NoiseStream(0, 2, (4, 64, 64))
    x = draws(0) * (1 + sigmas[0].item() ** 2) ** 0.5
    last = run(name, x, sigmas, DEFAULT_ETA[name], draws)[-1].x_next
    assert last.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert last.std().item() == pytest.approx(SPREAD, rel=0.03)


@every_sampler
def test_one_step_to_zero_is_the_prediction_to_the_last_bit(name):
    for dtype in (torch.float32, torch.float64):
        x = start(2, 4, 3, 3, scale=4096, dtype=dtype)
        (step,) = run(name, x, torch.tensor([4096.0, 0.0]), 1.0)
        assert torch.equal(step.x_next, step.prediction.x0)


@every_sampler
@pytest.mark.parametrize("final_sigma", FINAL_SIGMAS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_runs_exactly_the_steps_asked_for(name, spacing, final_sigma, steps):
    sigmas = sampling_sigmas(SD, steps, spacing, final_sigma)
    made = run(name, start(1, 4, 2, 2), sigmas, 1.0, NoiseStream(0, 1, (4, 2, 2)))
    assert [step.index for step in made] == list(range(steps))
    assert [(step.sigma, step.sigma_next) for step in made] == list(pairwise(sigmas.tolist()))
    assert [step.timestep for step in made] == [SD.timestep(sigma) for sigma in sigmas[:-1].tolist()]
    assert all(torch.equal(a.x_next, b.x) for a, b in pairwise(made))
    assert all(step.x_next.isfinite().all() for step in made)


@every_sampler
@pytest.mark.parametrize("steps", [999, 1000])
def test_runs_every_timestep_there_is(name, steps):
    sigmas = sampling_sigmas(SD, steps)
    made = run(name, start(1, 1, 1, 1), sigmas, 0.0, NoiseStream(0, 1, (1, 1, 1)))
    assert len(made) == steps


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_taken_up_at_any_step_it_gives_the_same_bits(name, dtype):
    sigmas, draws = sampling_sigmas(SD, 6), NoiseStream(3, 2, (4, 5, 6))
    denoiser = network_denoiser(2)
    denoiser = dataclasses.replace(
        denoiser, context=denoiser.context.to(dtype), uncond=denoiser.uncond.to(dtype)
    )
    x = draws(0).to(dtype) * 14.6
    whole = run(name, x, sigmas, 0.7, draws, denoise=denoiser)
    for k in range(len(whole) + 1):
        x = whole[k - 1].x_next if k else x
        rest = run(name, x, sigmas, 0.7, draws, whole[:k], denoiser)
        assert len(rest) == len(whole) - k
        for ours, theirs in zip(rest, whole[k:], strict=True):
            assert (ours.index, ours.sigma, ours.sigma_next) == (
                theirs.index,
                theirs.sigma,
                theirs.sigma_next,
            )
            assert torch.equal(ours.x, theirs.x)
            assert torch.equal(ours.prediction.x0, theirs.prediction.x0)
            assert torch.equal(ours.x_next, theirs.x_next)


@every_sampler
def test_picture_i_of_a_batch_is_seed_plus_i(name):
    sigmas, shape = sampling_sigmas(SD, 5), (4, 5, 6)

    def pictures(seed, batch_size):
        context = network_denoiser(1).context.expand(batch_size, -1, -1)  # all with the same prompt
        denoiser = dataclasses.replace(network_denoiser(batch_size), context=context, uncond=-context)
        draws = NoiseStream(seed, batch_size, shape)
        return run(name, draws(0) * 14.6, sigmas, 1.0, draws, denoise=denoiser)[-1].x_next

    batch = pictures(7, 3)
    for i in range(3):
        torch.testing.assert_close(batch[i : i + 1], pictures(7 + i, 1))


@every_sampler
def test_noise_is_drawn_once_a_step_by_the_step_s_number(name):
    drawn = []

    def noise(draw):
        drawn.append(draw)
        return torch.zeros(1, 4, 2, 2)

    run(name, start(1, 4, 2, 2), sampling_sigmas(SD, 5), 1.0, noise)
    fresh = name in USES_ETA or name == "ddpm"
    assert drawn == ([1, 2, 3, 4] if fresh else [])  # none on the last step, which ends without noise


@every_sampler
def test_eta_matters_where_it_is_said_to(name):
    sigmas, draws = sampling_sigmas(SD, 5), NoiseStream(0, 1, (4, 2, 2))
    a, b = (run(name, start(1, 4, 2, 2), sigmas, eta, draws)[-1].x_next for eta in (0.0, 1.0))
    assert torch.equal(a, b) == (name not in USES_ETA)


def test_every_sampler_has_an_eta_of_its_own():
    assert list(DEFAULT_ETA) == list(SAMPLERS)
    assert set(SAMPLERS) >= USES_ETA


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_what_is_kept_and_what_is_drawn_make_up_the_next_noise_level(eta):
    for sigma, sigma_next in ((14.6, 5.0), (1.0, 0.999), (4096.0, 0.03), (0.03, 0.0)):
        down, up = ancestral_step(sigma, sigma_next, eta)
        assert down**2 + up**2 == pytest.approx(sigma_next**2, rel=1e-12)
        assert (up > 0) == (eta > 0 and sigma_next > 0)


def test_ddpm_at_every_timestep_is_the_posterior():
    x = start(1, 4, 5, 6, scale=1.0)
    noise = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(5))
    for t in (1, 2, 500, 999):
        sigmas = SD.sigmas[[t, t - 1]]
        (step,) = run("ddpm", x * (1 + sigmas[0].item() ** 2) ** 0.5, sigmas, 0.0, lambda draw: noise)
        mean, variance = posterior(SD, step.prediction.x0, x, torch.tensor([t]))
        ours = step.x_next / (1 + step.sigma_next**2) ** 0.5
        torch.testing.assert_close(ours, mean + variance.sqrt() * noise, rtol=0, atol=1e-11)


@every_sampler
def test_second_order_costs_heun_two_questions_and_the_others_one(name):
    denoise = Ideal()
    run(name, start(1, 4, 2, 2), sampling_sigmas(SD, 5), 0.0, NoiseStream(0, 1, (4, 2, 2)), denoise=denoise)
    assert denoise.asked == (9 if name == "heun" else 5)


@every_sampler
def test_arguments_are_left_as_they_were(name):
    x, sigmas, draw = start(1, 4, 2, 2), sampling_sigmas(SD, 5), torch.ones(1, 4, 2, 2)
    before = [tensor.clone() for tensor in (x, sigmas, draw)]
    made = run(name, x, sigmas, 1.0, lambda number: draw)
    kept = [step.x_next.clone() for step in made[:2]]
    run(name, made[1].x_next, sigmas, 1.0, lambda number: draw, made[:2])
    assert all(torch.equal(a, b) for a, b in zip((x, sigmas, draw), before, strict=True))
    assert all(torch.equal(step.x_next, k) for step, k in zip(made[:2], kept, strict=True))


@every_sampler
def test_gradients_stay_as_the_caller_has_them(name):
    for _ in SAMPLERS[name](
        Ideal(), start(1, 4, 2, 2), sampling_sigmas(SD, 3), 1.0, NoiseStream(0, 1, (4, 2, 2)), ()
    ):
        assert torch.is_grad_enabled()


@every_sampler
def test_a_run_that_is_closed_asks_no_more(name):
    denoise = Ideal()
    steps = SAMPLERS[name](
        denoise, start(1, 4, 2, 2), sampling_sigmas(SD, 5), 0.0, NoiseStream(0, 1, (4, 2, 2)), ()
    )
    assert denoise.asked == 0  # nothing happens before the first step is asked for
    next(steps)
    asked = denoise.asked
    steps.close()
    assert list(steps) == []
    assert denoise.asked == asked


@every_sampler
@pytest.mark.parametrize("prediction_type", ["v", "x0"])
@pytest.mark.parametrize("steps", [1, 4, 30])
def test_float32_is_enough_from_pure_noise_on(name, prediction_type, steps):
    """Zero terminal SNR starts at sigma 4096; compared at unit variance, as what is stored is to be."""
    sigmas, draws = sampling_sigmas(ZERO_TERMINAL, steps), NoiseStream(0, 1, (4, 5, 6))
    assert sigmas[0] > 4095
    runs = []
    for dtype in (torch.float32, torch.float64):
        denoiser = network_denoiser(schedule=ZERO_TERMINAL, prediction_type=prediction_type)
        context = denoiser.context.to(dtype)
        denoiser = dataclasses.replace(denoiser, context=context, uncond=-context)
        x = draws(0).to(dtype) * (1 + sigmas[0].item() ** 2) ** 0.5
        runs.append(run(name, x, sigmas, 1.0, draws, denoise=denoiser))
    for single, double in zip(*runs, strict=True):
        scale = (1 + single.sigma_next**2) ** 0.5
        x, expected = single.x_next.double() / scale, double.x_next / scale
        torch.testing.assert_close(x, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@every_sampler
@pytest.mark.parametrize("prediction_type", ["v", "x0", "eps"])
def test_the_way_a_network_speaks_does_not_change_the_picture(name, prediction_type):
    """Three networks that know the same Gaussian data give the same run."""
    sigmas, draws = sampling_sigmas(SD, 8), NoiseStream(0, 1, (4, 2, 2))

    def network(x, t, context):
        sigma = SD.sigma_at(t[0].item())
        scale = (1 + sigma**2) ** 0.5
        x0 = Ideal()(x * scale, sigma).x0
        eps = (x * scale - x0) / sigma
        return {"v": (eps - sigma * x0) / scale, "x0": x0, "eps": eps}[prediction_type], ()

    denoiser = Denoiser(network, SD, prediction_type, torch.zeros(1, 1, 1))
    x = start(1, 4, 2, 2)
    ours = run(name, x, sigmas, 1.0, draws, denoise=denoiser)[-1].x_next
    torch.testing.assert_close(ours, run(name, x, sigmas, 1.0, draws)[-1].x_next, rtol=1e-9, atol=1e-9)
