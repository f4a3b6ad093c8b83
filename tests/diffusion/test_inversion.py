"""DDIM inversion against data whose ODE is known."""

import pytest
import torch

from ldm.diffusion.exact import gaussian, two_gaussians
from ldm.diffusion.inversion import encode
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions
from ldm.diffusion.schedule import NoiseSchedule, scaled_linear_betas
from ldm.diffusion.spacing import sampling_sigmas

SD = NoiseSchedule.from_betas(scaled_linear_betas())
GAUSSIAN, MIXTURE = gaussian(SD), two_gaussians(SD)


def data(mixture):
    return mixture.noisy(0.0, (1, 6, 6), torch.Generator().manual_seed(0))


def up(mixture, steps, refinements, x=None):
    sigmas = sampling_sigmas(SD, steps).flip(0)
    return list(encode(mixture, data(mixture) if x is None else x, sigmas, refinements=refinements))


def down(mixture, steps, x):
    return list(SAMPLERS["ddim"].run(mixture, x, sampling_sigmas(SD, steps), SamplerOptions(), None, ()))


@pytest.mark.parametrize("mixture", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_ddim_leads_back_exactly_once_the_fixed_point_is_reached(mixture):
    def error(refinements):
        there = up(mixture, 20, refinements)[-1].x_next
        return float((down(mixture, 20, there)[-1].x_next - data(mixture)).abs().max())

    errors = [error(refinements) for refinements in (0, 2, 5, 200)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[3] < 1e-12


def test_every_step_of_the_way_back_is_the_same_step():
    there = up(MIXTURE, 12, 300)
    back = down(MIXTURE, 12, there[-1].x_next)
    for a, b in zip(there, reversed(back), strict=True):
        assert (a.sigma, a.sigma_next, a.timestep) == (b.sigma_next, b.sigma, b.timestep)
        torch.testing.assert_close(a.x_next, b.x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(a.prediction.x0, b.prediction.x0, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(a.eps, b.eps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("refinements", [0, 1, 30])
def test_more_steps_find_the_noise_that_the_ode_leads_to(refinements):
    """First order: half the error for twice the steps."""

    x = data(GAUSSIAN)

    def error(steps):
        sigmas = torch.logspace(-1, 1, steps + 1, dtype=torch.float64)
        *_, last = encode(GAUSSIAN, x, sigmas, refinements=refinements)
        return float((last.x_next - GAUSSIAN.flow(x, 0.1, 10.0)).abs().max())

    assert error(100) / error(200) == pytest.approx(2, rel=0.1)
    assert error(200) / error(400) == pytest.approx(2, rel=0.05)


def test_a_refinement_costs_one_call_and_the_network_is_told_timesteps():
    told = []

    class Noted:
        timestep, sigma_at = GAUSSIAN.timestep, GAUSSIAN.sigma_at

        def __call__(self, x, sigma):
            told.append(round(SD.timestep(sigma)))
            return GAUSSIAN(x, sigma)

    steps = list(encode(Noted(), data(GAUSSIAN), sampling_sigmas(SD, 5).flip(0), refinements=1))
    # not 0, 1, 2, 3, 4, the numbers of the steps, which is what Stability's `encode` tells the network
    assert told == [199, 199, 399, 399, 599, 599, 799, 799, 999, 999]
    assert [step.timestep for step in steps] == [199, 399, 599, 799, 999]


def test_taken_up_at_any_step_it_gives_the_same_bits():
    sigmas = sampling_sigmas(SD, 6).flip(0)
    whole = list(encode(MIXTURE, data(MIXTURE), sigmas, refinements=2))
    for k in range(1, 7):
        rest = list(encode(MIXTURE, whole[k - 1].x_next, sigmas, refinements=2, history=whole[:k]))
        assert [s.index for s in rest] == list(range(k, 6))
        assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(rest, whole[k:], strict=True))


def test_the_first_guess_shows_the_network_x_at_its_own_variance():
    x, sigmas = data(GAUSSIAN), torch.tensor([0.5, 2.0], dtype=torch.float64)
    (step,) = encode(GAUSSIAN, x, sigmas)
    torch.testing.assert_close(step.x_asked / 5**0.5, x / 1.25**0.5)
    assert step.sigma_asked == 2.0
