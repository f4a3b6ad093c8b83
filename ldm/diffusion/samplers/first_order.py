"""One call a step, first order: DDIM and what is DDIM by another name, LCM, TCD."""

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt

from torch import Tensor

from ...trace import Step
from .base import Given, Here, ancestral_step, churn, euler_step, freshened, move, walk


def ddim(given: Given) -> Iterator[Step]:
    """DDIM: keep part of the noise that is there, draw the rest fresh.

        x_next = x0 + sigma_down * eps + sigma_up * noise

    Source: Song et al. 2021 (arXiv:2010.02502) eq. 12.
    """

    def advance(here: Here) -> Tensor:
        sigma_down, sigma_up = ancestral_step(here.sigma, here.sigma_next, given.options.eta)
        return freshened(given, move(here, here.x0, sigma_down / here.sigma), sigma_up, here.index)

    return walk(given, advance)


def ddpm(given: Given) -> Iterator[Step]:
    """DDPM, also called ancestral sampling: `ddim` with eta 1, whatever eta is.

    With all T timesteps this is Ho et al.'s sampler with the posterior's variance ("fixed small"); with
    fewer, its extension to the levels that are visited.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 6 and 7; DDIM (arXiv:2010.02502), section 4.1.
    """
    return ddim(replace(given, options=replace(given.options, eta=1.0)))


def ddpm_large(given: Given) -> Iterator[Step]:
    """DDPM with the larger of its two variances, beta: right for data that is noise itself.

        x_next = x0 + (sigma_next / sigma)**2 * (x - x0) + sigma_up * noise
        sigma_up**2 = (sigma**2 - sigma_next**2) * (1 + sigma_next**2) / (1 + sigma**2)

    which is beta = 1 - alphas_cumprod / alphas_cumprod_next at unit signal.  The step to sigma 0 draws none.

    Source: Ho et al. 2020 (arXiv:2006.11239), section 3.2, the first choice of sigma_t; "fixed large".
    """

    def advance(here: Here) -> Tensor:
        sigma, sigma_next = here.sigma, here.sigma_next
        x_next = move(here, here.x0, (sigma_next / sigma) ** 2)
        if sigma_next == 0:
            return x_next
        variance = (sigma**2 - sigma_next**2) * ((1 + sigma_next**2) / (1 + sigma**2))
        return freshened(given, x_next, sqrt(variance), here.index)

    return walk(given, advance)


def euler(given: Given) -> Iterator[Step]:
    """Euler's method on the probability-flow ODE, dx/dsigma = eps: `ddim` with eta 0, and with churn.

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 2 without its lines 9 to 11; k-diffusion's
    `sample_euler`.
    """
    stir = churn(given)
    return walk(given, euler_step, stir=stir)


def euler_ancestral(given: Given) -> Iterator[Step]:
    """An Euler step further down than asked for, then fresh noise up to the level: `ddim` by another name.

    Source: k-diffusion's `sample_euler_ancestral`.
    """
    return ddim(given)


def lcm(given: Given) -> Iterator[Step]:
    """Multistep consistency sampling: jump to x0, then noise it anew.  For models distilled to do that.

        x_next = x0 + sigma_next * noise

    Source: Song et al. 2023 (arXiv:2303.01469), algorithm 1; latent consistency models, Luo et al. 2023
    (arXiv:2310.04378), algorithm 3.
    """

    def advance(here: Here) -> Tensor:
        return freshened(given, move(here, here.x0, 0.0), here.sigma_next, here.index)

    return walk(given, advance)


def tcd(given: Given) -> Iterator[Step]:
    """Strategic stochastic sampling of trajectory consistency models: jump beyond the level, noise up to it.

        sigma_s = sigma at timestep (1 - eta) * t_next
        x_next = x0 + sigma_s * eps + sqrt(sigma_next**2 - sigma_s**2) * noise

    eta is the paper's gamma: 0 is `ddim` without noise, 1 noises all but anew.

    Source: Zheng et al. 2024 (arXiv:2402.19159), algorithm 4.
    """

    def advance(here: Here) -> Tensor:
        sigma_next = here.sigma_next
        if sigma_next == 0 or given.options.eta == 0:
            return euler_step(here)
        t = (1 - given.options.eta) * given.denoise.timestep(sigma_next)
        sigma_s = min(given.denoise.sigma_at(t), sigma_next)
        x_next = move(here, here.x0, sigma_s / here.sigma)
        return freshened(given, x_next, sqrt(sigma_next**2 - sigma_s**2), here.index)

    return walk(given, advance)
