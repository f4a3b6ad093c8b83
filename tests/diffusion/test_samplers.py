"""What every sampler does, whatever it is: new ones are covered by being in SAMPLERS.

The mathematics is measured in `test_samplers_exact`, the numbers of others in `test_golden*`.
"""

import dataclasses
from itertools import pairwise

import pytest
import torch

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.exact import gaussian, two_gaussians
from ldm.diffusion.gaussian import posterior
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.samplers import (
    CFG_PP,
    DEFAULT_ETA,
    SAMPLERS,
    USES_ETA,
    SamplerOptions,
    ancestral_step,
    sampler_levels,
)
from ldm.diffusion.samplers.base import unbroken
from ldm.diffusion.samplers.restart import stretches
from ldm.diffusion.schedule import NoiseSchedule, rescale_zero_terminal_snr, scaled_linear_betas
from ldm.diffusion.spacing import FINAL_SIGMAS, SPACINGS, sampling_sigmas
from ldm.trace import Prediction, Step

SD = NoiseSchedule.from_betas(scaled_linear_betas())
ZERO_TERMINAL = NoiseSchedule(rescale_zero_terminal_snr(SD.alphas_cumprod))
CHOSEN = [name for name in SPACINGS if name != "custom"]
SHAPE = (2, 4, 3)  # of one picture; the ideal denoiser has two channels
GAUSSIAN = gaussian(SD)

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


class Counting:
    """An ideal denoiser that counts how often it is asked."""

    def __init__(self, inner=GAUSSIAN):
        self.inner, self.asked = inner, 0
        self.timestep, self.sigma_at = inner.timestep, inner.sigma_at

    def __call__(self, x, sigma):
        self.asked += 1
        return self.inner(x, sigma)


def no_noise(draw):
    raise AssertionError(f"asked for draw {draw}")


def start(*shape, scale=10.0, dtype=torch.float64):
    shape = shape or (1, *SHAPE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * scale


def options_of(name, **changes):
    """Everything that a sampler can be told to do, done."""
    entry = SAMPLERS[name]
    return SamplerOptions(**{"eta": 0.7, "s_churn": 1.0 if entry.churns else 0.0, **changes})


def levels(name, steps, spacing="trailing", final_sigma="zero", schedule=SD, **changes):
    def sigmas_of(count):
        return sampling_sigmas(schedule, count, spacing, final_sigma)

    return sampler_levels(name, sigmas_of, steps, options_of(name, **changes))


def run(name, x, sigmas, noise=no_noise, history=(), denoise=None, **changes):
    options = options_of(name, **changes)
    return list(SAMPLERS[name].run(denoise or GAUSSIAN, x, sigmas, options, noise, history))


def draws_for(x, seed=0):
    return NoiseStream(seed, len(x), tuple(x.shape[1:]))


def network_denoiser(batch_size=1, schedule=SD, prediction_type="v", guidance=None, channels=2):
    """A denoiser around a small random network, with guidance and rescale."""
    weight = torch.randn(channels, channels, 3, 3, generator=torch.Generator().manual_seed(1)) / 6

    def network(x, t, context):
        shift = context.mean(dim=(1, 2))[:, None, None, None] + t[:, None, None, None] / 1000
        return torch.tanh(torch.nn.functional.conv2d(x, weight.to(x), padding=1) + shift), ()

    context = torch.linspace(-1, 1, batch_size * 6).reshape(batch_size, 2, 3)
    guidance = guidance or Guidance(3.0, rescale=0.7)
    return Denoiser(network, schedule, prediction_type, context, -context, guidance)


def in_type(denoiser, dtype):
    context = denoiser.context.to(dtype)
    return dataclasses.replace(denoiser, context=context, uncond=-context)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.index, a.sigma, a.sigma_next, a.timestep) == (b.index, b.sigma, b.sigma_next, b.timestep)
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.prediction.x0, b.prediction.x0)
        assert torch.equal(a.x_next, b.x_next)


@every_sampler
def test_one_step_to_zero_is_the_prediction_to_the_last_bit(name):
    for dtype in (torch.float32, torch.float64):
        x = start(2, *SHAPE, scale=4096, dtype=dtype)
        (step,) = run(name, x, torch.tensor([4096.0, 0.0]), draws_for(x), s_churn=0.0)
        assert torch.equal(step.x_next, step.prediction.x0)


@every_sampler
@pytest.mark.parametrize("final_sigma", FINAL_SIGMAS)
@pytest.mark.parametrize("spacing", CHOSEN)
def test_runs_exactly_the_steps_asked_for(name, spacing, final_sigma):
    for steps in (1, 2, 7, 30):
        sigmas, x = levels(name, steps, spacing, final_sigma), start(1, 2, 1, 1)
        made = run(name, x, sigmas, draws_for(x))
        assert [step.index for step in made] == list(range(steps))
        assert [step.sigma for step in made] == [sigma for sigma, _, _ in stretches(sigmas.tolist())]
        assert made[-1].sigma_next == sigmas[-1]
        assert all(a.sigma_next == b.sigma and torch.equal(a.x_next, b.x) for a, b in pairwise(made))
        asked = [step.sigma if step.sigma_asked is None else step.sigma_asked for step in made]
        assert [step.timestep for step in made] == [SD.timestep(sigma) for sigma in asked]
        assert all(step.x_next.isfinite().all() for step in made)


@every_sampler
@pytest.mark.parametrize("steps", [999, 1000])
def test_runs_every_timestep_there_is(name, steps):
    sigmas, x = levels(name, steps), start(1, 2, 1, 1)
    made = run(name, x, sigmas, draws_for(x))
    assert len(made) == steps
    assert made[-1].x_next.isfinite().all()


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_taken_up_at_any_step_it_gives_the_same_bits(name, dtype):
    sigmas, draws = levels(name, 12), NoiseStream(3, 2, (2, 5, 6))
    denoiser = in_type(network_denoiser(2), dtype)
    x = draws(0).to(dtype) * 14.6
    whole = run(name, x, sigmas, draws, denoise=denoiser)
    for k in range(len(whole) + 1):
        x = whole[k - 1].x_next if k else whole[0].x
        fresh = NoiseStream(3, 2, (2, 5, 6))  # nothing is remembered in the noise either
        assert_same(run(name, x, sigmas, fresh, whole[:k], denoiser), whole[k:])


@every_sampler
def test_a_picture_is_the_same_alone_and_in_a_batch(name):
    sigmas = levels(name, 6)

    def last(seed, batch_size, order=None):
        context = network_denoiser(1).context.expand(batch_size, -1, -1)  # all with the same prompt
        denoiser = dataclasses.replace(network_denoiser(batch_size), context=context, uncond=-context)
        draws = NoiseStream(seed, batch_size, (2, 5, 6))
        return run(name, draws(0) * 14.6, sigmas, draws, denoise=denoiser)[-1].x_next

    batch = last(7, 4)
    for i in (3, 0, 2, 1):  # in another order
        torch.testing.assert_close(batch[i : i + 1], last(7 + i, 1), rtol=1e-5, atol=1e-5)


class Listening:
    """Notes what it is asked for, and gives zeros."""

    def __init__(self, like):
        self.like, self.drawn, self.walked = like, [], []

    def __call__(self, draw):
        self.drawn.append(draw)
        return torch.zeros_like(self.like)

    def between(self, sigma, sigma_next):
        self.walked.append((sigma, sigma_next))
        return torch.zeros_like(self.like)


@every_sampler
def test_noise_is_drawn_by_the_step_s_number_at_most_once_a_step(name):
    x, entry = start(), SAMPLERS[name]
    noise = Listening(x)
    sigmas = levels(name, 8)
    run(name, x, sigmas, noise)
    assert all(a < b for a, b in pairwise(noise.drawn))
    assert set(noise.drawn) <= set(range(1, 9))
    assert all(sigma > sigma_next > 0 for sigma, sigma_next in noise.walked)
    draws = entry.fresh or entry.churns or entry.eta is not None
    assert bool(noise.drawn or noise.walked) == draws
    if draws and not entry.churns and entry.levels is None:
        assert noise.drawn in ([], list(range(1, 8)))  # none on the last step, which ends without noise


@every_sampler
def test_eta_matters_where_it_is_said_to(name):
    sigmas, x = levels(name, 6), start()
    a, b = (run(name, x, sigmas, draws_for(x), eta=eta)[-1].x_next for eta in (0.1, 1.0))
    assert torch.equal(a, b) == (name not in USES_ETA)
    if name in USES_ETA:
        assert not SAMPLERS[name].fresh
        run(name, x, sigmas, no_noise, eta=0.0, s_churn=0.0)  # draws nothing


@every_sampler
def test_noise_matters_in_proportion_to_s_noise_where_there_is_any(name):
    sigmas, x, entry = levels(name, 6), start(), SAMPLERS[name]
    fresh = entry.fresh or entry.churns or entry.eta is not None
    none, once, twice = (
        run(name, x, sigmas, draws_for(x), s_noise=amount)[-1].x_next for amount in (0.0, 1.0, 2.0)
    )
    assert torch.equal(none, once) == (not fresh)
    torch.testing.assert_close(twice - once, once - none, rtol=1e-6, atol=1e-9)  # the denoiser is linear


@every_sampler
def test_noise_is_stirred_in_between_the_levels_named_and_nowhere_else(name):
    sigmas, x, entry = levels(name, 8, "karras"), start(), SAMPLERS[name]
    made = run(name, x, sigmas, draws_for(x), s_churn=4.0, s_tmin=0.1, s_tmax=5.0)
    stirred = [step.sigma for step in made if step.sigma_asked is not None]
    expected = [s for s in sigmas[:-1].tolist() if 0.1 <= s <= 5] if entry.churns else []
    assert stirred == expected
    for step in made:
        if step.sigma_asked is not None:
            assert step.sigma_asked == pytest.approx(step.sigma * min(1 + 4 / 8, 2**0.5))
            assert not torch.equal(step.x, step.x_asked)
            torch.testing.assert_close(step.eps, (step.x_asked - step.prediction.x0) / step.sigma_asked)


@pytest.mark.parametrize("name", [name for name, entry in SAMPLERS.items() if entry.orders])
def test_order_one_is_euler_s_and_each_order_is_another(name):
    x, sigmas = start(), torch.logspace(1, -0.3, 9, dtype=torch.float64)
    made = {order: run(name, x, sigmas, order=order)[-1].x_next for order in (*SAMPLERS[name].orders, None)}
    euler = run("euler", x, sigmas, s_churn=0.0)[-1].x_next
    assert torch.equal(made[1], euler) == (name != "unipc")  # which corrects even that
    several = [made[order] for order in SAMPLERS[name].orders]
    assert not any(torch.equal(a, b) for a, b in pairwise(several))
    assert any(torch.equal(made[None], other) for other in several)


@every_sampler
def test_cfg_pp_keeps_the_unguided_noise_where_it_is_said_to(name):
    """With x0 = x0_uncond + scale * d the plain sampler's step is CFG++'s of the scale times 1 - ratio."""
    sigmas, x = torch.tensor([8.0, 3.0], dtype=torch.float64), start()
    plus = in_type(network_denoiser(guidance=Guidance(0.6, method="cfg_pp")), torch.float64)
    plain = in_type(network_denoiser(guidance=Guidance(0.6)), torch.float64)
    (with_plus,), (without,) = (
        run(name, x, sigmas, Listening(x), denoise=d, eta=0.0, s_churn=0.0) for d in (plus, plain)
    )
    assert torch.equal(with_plus.prediction.x0, without.prediction.x0)
    p = with_plus.prediction
    if name not in CFG_PP:
        assert torch.equal(with_plus.x_next, without.x_next)  # and `generation.check` refuses it
        return
    moved = with_plus.x_next - without.x_next
    kept = {"ddpm": (3 / 8) ** 2, "ddpm_large": (3 / 8) ** 2, "lcm": 0.0}.get(name, 3 / 8)
    torch.testing.assert_close(moved, kept * (p.x0 - p.x0_uncond))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_what_is_kept_and_what_is_drawn_make_up_the_next_noise_level(eta):
    for sigma, sigma_next in ((14.6, 5.0), (1.0, 0.999), (4096.0, 0.03), (0.03, 0.0)):
        down, up = ancestral_step(sigma, sigma_next, eta)
        assert down**2 + up**2 == pytest.approx(sigma_next**2, rel=1e-12)
        assert (up > 0) == (eta > 0 and sigma_next > 0)


@pytest.mark.parametrize("name", ["ddpm", "ddpm_large"])
def test_ddpm_at_every_timestep_is_the_posterior(name):
    x = start(1, 2, 5, 6, scale=1.0)
    noise = torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(5)).double()
    for t in (1, 2, 500, 999):
        sigmas = SD.sigmas[[t, t - 1]]
        (step,) = run(name, x * (1 + sigmas[0].item() ** 2) ** 0.5, sigmas, lambda draw: noise)
        mean, variance = posterior(SD, step.prediction.x0, x, torch.tensor([t]))
        variance = variance if name == "ddpm" else SD.betas[t]
        ours = step.x_next / (1 + step.sigma_next**2) ** 0.5
        torch.testing.assert_close(ours, mean + variance.sqrt() * noise, rtol=0, atol=1e-11)


@every_sampler
def test_the_network_is_asked_as_often_as_is_said_and_no_more(name):
    entry, x = SAMPLERS[name], start()
    for steps in (1, 2, 5, 12):
        denoise = Counting()
        run(name, x, levels(name, steps), draws_for(x), denoise=denoise)
        first = entry.calls if entry.first_calls is None else entry.first_calls
        expected = first + (steps - 2) * entry.calls + 1 if steps > 1 else 1  # one where a step ends at 0
        if name == "dpm_fast" and steps > 1:
            expected -= 1  # its last step but one is of second order
        assert denoise.asked == expected


@every_sampler
def test_arguments_are_left_as_they_were(name):
    x, sigmas, draws = start(), levels(name, 8), draws_for(start())
    before = [tensor.clone() for tensor in (x, sigmas)]
    made = run(name, x, sigmas, draws)
    kept = [step.x_next.clone() for step in made[:4]]
    run(name, made[3].x_next, sigmas, draws, made[:4])
    assert all(torch.equal(a, b) for a, b in zip((x, sigmas), before, strict=True))
    assert all(torch.equal(step.x_next, k) for step, k in zip(made[:4], kept, strict=True))


@every_sampler
def test_gradients_stay_as_the_caller_has_them(name):
    x = start()
    for _ in SAMPLERS[name].run(GAUSSIAN, x, levels(name, 3), options_of(name), draws_for(x), ()):
        assert torch.is_grad_enabled()


@every_sampler
def test_a_run_that_is_closed_asks_no_more(name):
    denoise, x = Counting(), start()
    steps = SAMPLERS[name].run(denoise, x, levels(name, 5), options_of(name), draws_for(x), ())
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
    sigmas = levels(name, steps, schedule=ZERO_TERMINAL)
    draws = NoiseStream(0, 1, (2, 5, 6))
    assert sigmas[0] > 4095
    runs = []
    for dtype in (torch.float32, torch.float64):
        denoiser = in_type(network_denoiser(1, ZERO_TERMINAL, prediction_type), dtype)
        x = draws(0).to(dtype) * (1 + sigmas[0].item() ** 2) ** 0.5
        runs.append(run(name, x, sigmas, draws, denoise=denoiser))
    for single, double in zip(*runs, strict=True):
        scale = (1 + single.sigma_next**2) ** 0.5
        x, expected = single.x_next.double() / scale, double.x_next / scale
        torch.testing.assert_close(x, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@every_sampler
@pytest.mark.parametrize("prediction_type", ["v", "x0", "eps"])
def test_the_way_a_network_speaks_does_not_change_the_picture(name, prediction_type):
    """Three networks that know the same data give the same run."""
    sigmas, x = levels(name, 8), start()

    def network(x, t, context):
        sigma = SD.sigma_at(t[0].item())
        scale = (1 + sigma**2) ** 0.5
        x0 = GAUSSIAN(x * scale, sigma).x0
        eps = (x * scale - x0) / sigma
        return {"v": (eps - sigma * x0) / scale, "x0": x0, "eps": eps}[prediction_type], ()

    denoiser = Denoiser(network, SD, prediction_type, torch.zeros(1, 1, 1))
    options = {"s_churn": 0.0}  # a level above the schedule's is told as its last timestep
    ours = run(name, x, sigmas, draws_for(x), denoise=denoiser, **options)[-1].x_next
    theirs = run(name, x, sigmas, draws_for(x), **options)[-1].x_next
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


ODE = [name for name, e in SAMPLERS.items() if not e.fresh and e.levels is None]


@pytest.mark.parametrize("name", ODE)
def test_running_the_other_way_finds_the_noise_of_a_picture(name):
    x0 = start(1, 2, 8, 8, scale=1.0)
    sigmas = torch.logspace(1, -1, 201, dtype=torch.float64)
    options = {"eta": 0.0, "s_churn": 0.0}
    noisy = run(name, x0, sigmas.flip(0), **options)[-1].x_next
    tolerance = 0.1 if SAMPLERS[name].order == 1 else 2e-3
    torch.testing.assert_close(noisy, GAUSSIAN.flow(x0, 0.1, 10.0), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(run(name, noisy, sigmas, **options)[-1].x_next, x0, rtol=0, atol=2 * tolerance)


@pytest.mark.parametrize("name", [name for name, e in SAMPLERS.items() if e.eta is not None])
def test_a_sampler_without_its_noise_is_close_to_the_ode(name):
    mixture, x = two_gaussians(SD), start()
    sigmas = torch.logspace(1, -1, 101, dtype=torch.float64)
    ours = run(name, x, sigmas, denoise=mixture, eta=0.0)[-1].x_next
    exact = run("dpmpp_3s", x, sigmas, denoise=mixture)[-1].x_next
    torch.testing.assert_close(ours, exact, rtol=0, atol=0.05 if SAMPLERS[name].order == 1 else 5e-3)


@pytest.mark.parametrize("name", [*ODE, "restart"])
@pytest.mark.parametrize("steps", [6, 20])
def test_from_infinite_noise_on_no_sampler_runs_away(name, steps):
    """Slopes in sigma, multiplied by a step of 4096, would: 180 of 255 levels off on the default model."""
    mixture = two_gaussians(ZERO_TERMINAL)
    x = start(1, 2, 16, 16, scale=4096.0)
    options = {"eta": 0.0, "s_churn": 0.0}

    def last(name, steps):
        sigmas = levels(name, steps, schedule=ZERO_TERMINAL)
        return run(name, x, sigmas, draws_for(x), denoise=mixture, **options)[-1].x_next

    away = (last(name, steps) - last("dpmpp_3s", 300)).square().mean().sqrt()
    euler = (last("euler", steps) - last("dpmpp_3s", 300)).square().mean().sqrt()
    assert euler < 0.5
    assert away < (0.9 if name == "restart" else 2 * euler)


def a_step(sigma, sigma_next):
    zero = torch.zeros(1)
    return Step(0, sigma, sigma_next, 0.0, zero, Prediction(zero, zero), zero)


def test_only_steps_that_led_here_in_one_direction_are_looked_back_at():
    down = [a_step(8.0, 4.0), a_step(4.0, 2.0)]
    assert unbroken(down, 2.0, 1.0) == tuple(down)
    assert unbroken(down, 2.0, 3.0) == ()  # turned round
    assert unbroken(down, 5.0, 1.0) == ()  # noise was added
    assert unbroken([*down, a_step(2.0, 2.0)], 2.0, 1.0) == ()  # stayed
    assert unbroken([a_step(1.0, 9.0), a_step(9.0, 3.0)], 3.0, 1.0)[0].sigma == 9.0
    up = [a_step(1.0, 2.0), a_step(2.0, 4.0)]
    assert unbroken(up, 4.0, 8.0) == tuple(up)


@every_sampler
def test_a_sampler_goes_on_from_the_steps_of_any_other(name):
    x, sigmas = start(), levels("restart", 12)
    made = run("restart", x, sigmas, draws_for(x))
    again = next(k for k, step in enumerate(made) if step.sigma_next > step.sigma)
    for at in (3, again, again + 1, again + 2):
        rest = torch.logspace(0, -2, 13 - at, dtype=torch.float64) * made[at].sigma
        whole = torch.cat([made[at].sigma * torch.arange(at + 1, 1, -1, dtype=torch.float64), rest])
        last = run(name, made[at].x, whole, draws_for(x), made[:at], s_churn=0.0)[-1]
        assert last.index == 11
        assert last.x_next.isfinite().all()


@pytest.mark.parametrize("steps", [*range(1, 50), 100, 999, 1000])
def test_restart_goes_up_again_within_the_steps_asked_for(steps):
    sigmas = levels("restart", steps)
    pairs = stretches(sigmas.tolist())
    assert len(pairs) == steps
    rises = [(low, high) for _, low, high in pairs if high > low]
    assert len(rises) == (0 if steps < 6 else 1 if steps < 36 else 2)
    assert all(low < high for low, high in rises)
    if steps >= 20:
        assert all(0.05 < low < 0.3 and 1.5 < high < 2.7 for low, high in rises)


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 23, 1000])
def test_langevin_stays_at_each_level_for_as_long_as_it_is_told(steps):
    sigmas = levels("langevin", steps, "exponential", steps_per_level=5)
    assert len(sigmas) == steps + 1
    found, counts = torch.unique_consecutive(sigmas[:-1], return_counts=True)
    assert len(found) == -(-steps // 5)
    assert counts[:-1].tolist() == [5] * (len(found) - 1)
    assert sigmas[-1] == 0


def test_annealed_langevin_is_ncsn_s_update():
    x, sigmas = start(), torch.tensor([2.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    noise = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3)).double()
    made = run("langevin", x, sigmas, lambda draw: noise * draw, step_lr=0.01)
    for step, sigma in zip(made[:2], (2.0, 2.0), strict=True):
        alpha = 0.01 * (sigma / 0.5) ** 2
        score = (step.prediction.x0 - step.x) / sigma**2
        expected = step.x + alpha * score + (2 * alpha) ** 0.5 * noise * (step.index + 1)
        torch.testing.assert_close(step.x_next, expected)
    assert torch.equal(made[-1].x_next, made[-1].prediction.x0)


def test_every_sampler_says_what_it_is():
    assert list(DEFAULT_ETA) == list(SAMPLERS)
    for name, entry in SAMPLERS.items():
        assert entry.title
        assert entry.note.endswith(".")
        assert entry.sampler.__name__ == name
        assert not (entry.fresh and entry.eta is not None)


@every_sampler
def test_a_run_taken_up_from_another_sampler_goes_on_from_its_latents(name):
    before = run("ddpm", start(), levels("ddpm", 8), noise=draws_for(start()))[:4]
    here = before[-1].x_next
    sigmas = torch.tensor([*(step.sigma for step in before), *levels("ddpm", 8)[4:].tolist()])

    def next_of(x):
        made = SAMPLERS[name].run(GAUSSIAN, x, sigmas, options_of(name), draws_for(x), before)
        return next(iter(made)).x_next

    moved = next_of(here + 0.1) - next_of(here)
    assert 0.005 < float(moved.abs().mean()) < 0.2
