"""DPM-Solver++ on the reverse SDE, with Brownian noise, so that more steps follow the same path."""

from collections.abc import Iterator
from math import exp, expm1, log, sqrt

from torch import Tensor

from ...trace import Step
from .base import Given, Here, ancestral_step, euler_step, toward, walk
from .multistep import third_order


def dpmpp_sde(given: Given) -> Iterator[Step]:
    """DPM++ SDE: ancestral to the geometric middle, then with the x0 found there.  Two calls a step.

    Source: DPM-Solver++ (arXiv:2211.01095); k-diffusion's `sample_dpmpp_sde` with r = 1/2.
    """

    def advance(here: Here) -> Tensor:
        sigma, sigma_next = here.sigma, here.sigma_next
        if sigma_next == 0:
            return euler_step(here)
        middle = sqrt(sigma * sigma_next)
        down, up = ancestral_step(sigma, middle, given.options.eta)
        x_middle = _stirred(toward(here.x, here.x0, down / sigma), up, sigma, middle, given)
        x0 = given.denoise(x_middle, middle).x0
        down, up = ancestral_step(sigma, sigma_next, given.options.eta)
        return _stirred(toward(here.x, x0, down / sigma), up, sigma, sigma_next, given)

    return walk(given, advance)


def dpmpp_2m_sde(given: Given) -> Iterator[Step]:
    """DPM++ 2M on the SDE, the midpoint rule: second order where eta is 0.

    Source: SDE-DPM-Solver++(2M) (arXiv:2211.01095), appendix; k-diffusion's `sample_dpmpp_2m_sde`.
    """

    def advance(here: Here) -> Tensor:
        return _second_order(here, given, heun=False)

    return walk(given, advance, remember=1)


def dpmpp_2m_sde_heun(given: Given) -> Iterator[Step]:
    """`dpmpp_2m_sde` with Heun's rule instead of the midpoint's.

    Source: k-diffusion's `sample_dpmpp_2m_sde` with `solver_type="heun"`.
    """

    def advance(here: Here) -> Tensor:
        return _second_order(here, given, heun=True)

    return walk(given, advance, remember=1)


def _second_order(here: Here, given: Given, *, heun: bool) -> Tensor:
    if here.sigma_next == 0:
        return euler_step(here)
    h = log(here.sigma / here.sigma_next)
    long = h * (1 + given.options.eta)
    x_next = toward(here.x, here.x0, exp(-long))
    if here.before:
        before = here.before[-1]
        slope = (here.x0 - before.prediction.x0.to(here.x0)) * (h / log(before.sigma / here.sigma))
        share = -expm1(-long)
        x_next = x_next + ((1 - share / long) if heun else share / 2) * slope
    return _with_brownian(x_next, here, h, given)


def dpmpp_3m_sde(given: Given) -> Iterator[Step]:
    """DPM++ 3M on the SDE, as everybody has it: of second order where eta is 0, see `dpmpp_3m`.

    Source: k-diffusion's `sample_dpmpp_3m_sde`.
    """

    def advance(here: Here) -> Tensor:
        x_next = third_order(here, given.options.eta, 1.0)
        if here.sigma_next == 0:
            return x_next
        return _with_brownian(x_next, here, log(here.sigma / here.sigma_next), given)

    return walk(given, advance, remember=2)


def _with_brownian(x: Tensor, here: Here, h: float, given: Given) -> Tensor:
    amount = here.sigma_next * sqrt(-expm1(-2 * given.options.eta * h))
    return _stirred(x, amount, here.sigma, here.sigma_next, given)


def _stirred(x: Tensor, amount: float, sigma: float, sigma_next: float, given: Given) -> Tensor:
    """(B, C, H, W) latents with `amount` of the Brownian noise between two levels on top."""
    if amount == 0:
        return x
    return x + (given.options.s_noise * amount) * given.noise.between(sigma, sigma_next).to(x)
