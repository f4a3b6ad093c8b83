"""Samplers against data whose denoiser, ODE and distribution are known: `benchmarks/exact.py` measures."""

import pytest
import torch

from benchmarks.exact import SCHEDULE, compared, moment_steps, moments, order
from ldm.diffusion.exact import gaussian, two_gaussians
from ldm.diffusion.samplers import SAMPLERS

KINDS = {"gaussian": gaussian(SCHEDULE), "mixture": two_gaussians(SCHEDULE)}
STOCHASTIC = [name for name, e in SAMPLERS.items() if e.fresh or e.churns or e.eta is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name, entry in SAMPLERS.items() if not entry.fresh])
def test_the_error_falls_as_its_order_says(name, kind):
    measured = order(name, KINDS[kind])
    assert measured[-1] == pytest.approx(SAMPLERS[name].order, abs=0.2)
    assert measured[0] == pytest.approx(SAMPLERS[name].order, abs=0.4)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", STOCHASTIC)
def test_100_000_points_have_the_mean_and_the_covariance_of_the_data(name):
    """Within three standard errors; the mixture too in `python benchmarks/exact.py`."""
    found = moments(name, KINDS["gaussian"])
    assert found.mean < 3
    assert found.covariance < 3


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "dpmpp_2s_ancestral", "restart"])
def test_a_mixture_comes_out_with_its_moments(name):
    found = moments(name, KINDS["mixture"])
    assert found.mean < 3
    assert found.covariance < 3


def test_too_few_steps_and_wrong_data_are_noticed():
    assert moments("ddpm", KINDS["gaussian"], 60).covariance > 6
    points = KINDS["mixture"].noisy(0.0, (1, 250, 400), torch.Generator().manual_seed(0))
    assert compared(points, KINDS["mixture"]).covariance < 3
    assert compared(points, KINDS["gaussian"]).covariance > 30
    assert moment_steps("langevin") > moment_steps("ddpm") > moment_steps("heun")


@pytest.mark.parametrize("kind", KINDS)
def test_the_ideal_denoiser_is_the_mean_of_the_data_given_the_noisy_point(kind):
    """By its definition: the sum of x0 weighed by how likely it made x, over many x0."""
    mixture = KINDS[kind]
    points = mixture.noisy(0.0, (1, 500, 400), torch.Generator().manual_seed(1)).flatten(2)[0]  # (2, N)
    for sigma in (0.4, 2.0):
        x = torch.tensor([0.5, 0.1], dtype=torch.float64)
        likely = (-(points - x[:, None]).square().sum(0) / (2 * sigma**2)).softmax(0)
        expected = (points * likely).sum(1)
        ours = mixture(x[None, :, None, None], sigma).x0.flatten()
        torch.testing.assert_close(ours, expected, rtol=0, atol=0.01)


def test_the_flow_of_a_gaussian_solves_its_ode():
    mixture = KINDS["gaussian"]
    x = mixture.noisy(3.0, (1, 4, 4), torch.Generator().manual_seed(2))
    h = 1e-5
    slope = (mixture.flow(x, 3.0, 3.0 + h) - mixture.flow(x, 3.0, 3.0 - h)) / (2 * h)
    torch.testing.assert_close(slope, (x - mixture(x, 3.0).x0) / 3.0, rtol=1e-7, atol=1e-7)
    with pytest.raises(ValueError, match="flow is known of one Gaussian, this is a mixture of 2"):
        KINDS["mixture"].flow(x, 3.0, 1.0)
