"""Several calls within a step and nothing remembered: Heun, DPM2, DPM++ 2S and 3S, DPM fast, Restart."""

from collections.abc import Iterator, Sequence
from math import expm1, log, sqrt

from torch import Tensor

from ...trace import Step
from .base import (
    Advance,
    Denoise,
    Given,
    Here,
    ancestral_step,
    churn,
    euler_step,
    freshened,
    is_euler,
    toward,
    walk,
)


def heun(given: Given) -> Iterator[Step]:
    """Second order: look ahead one Euler step, then use the average slope.  Two calls a step.

        x_next = x + (sigma_next - sigma) * (eps + eps_ahead) / 2

    A step to sigma 0 is Euler's: there is no slope at 0; so is one from infinite noise (`is_euler`).

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 2; k-diffusion's `sample_heun`.
    """
    stir = churn(given)
    return walk(given, heun_step(given.denoise), stir=stir)


def heun_step(denoise: Denoise) -> Advance:
    """Heun's step, Euler's where it ends at sigma 0."""

    def advance(here: Here) -> Tensor:
        sigma, sigma_next = here.sigma, here.sigma_next
        x_next = euler_step(here)
        if not is_euler(here):
            ahead = denoise(x_next, sigma_next)
            # the same formula in terms of x0: exact in float32 where sigma is large and sigma_next is not
            x_next = x_next + ((sigma - sigma_next) / (2 * sigma_next)) * (ahead.x0 - here.x0)
        return x_next

    return advance


def dpm_2(given: Given) -> Iterator[Step]:
    """Second order: the slope at the geometric middle of the two levels.  Two calls a step.

    Source: DPM-Solver-2, Lu et al. 2022 (arXiv:2206.00927), algorithm 1; k-diffusion's `sample_dpm_2`.
    """
    stir = churn(given)

    def advance(here: Here) -> Tensor:
        return _midpoint(given.denoise, here, here.sigma_next)

    return walk(given, advance, stir=stir)


def dpm_2_ancestral(given: Given) -> Iterator[Step]:
    """`dpm_2` a little further down than asked for, then fresh noise up to the level.

    Source: k-diffusion's `sample_dpm_2_ancestral`.
    """

    def advance(here: Here) -> Tensor:
        sigma_down, sigma_up = ancestral_step(here.sigma, here.sigma_next, given.options.eta)
        return freshened(given, _midpoint(given.denoise, here, sigma_down), sigma_up, here.index)

    return walk(given, advance)


def _midpoint(denoise: Denoise, here: Here, sigma_next: float) -> Tensor:
    """The latents plus (sigma_next - sigma) * eps at sqrt(sigma * sigma_next), in terms of x0."""
    x_next = toward(here.x, here.x0, sigma_next / here.sigma)
    if is_euler(here):
        return x_next
    middle = sqrt(here.sigma * sigma_next)
    ahead = denoise(toward(here.x, here.x0, middle / here.sigma), middle)
    return x_next + ((here.sigma - sigma_next) / middle) * (ahead.x0 - here.x0)


def dpmpp_2s(given: Given) -> Iterator[Step]:
    """DPM-Solver++ of second order in one step: the x0 of the geometric middle.  Two calls a step.

    Source: DPM-Solver++, Lu et al. 2022 (arXiv:2211.01095), algorithm 1 with r = 1/2.
    """

    def advance(here: Here) -> Tensor:
        return _dpmpp_2s(given.denoise, here, here.sigma_next)

    return walk(given, advance)


def dpmpp_2s_ancestral(given: Given) -> Iterator[Step]:
    """`dpmpp_2s` a little further down than asked for, then fresh noise up to the level.

    Source: k-diffusion's `sample_dpmpp_2s_ancestral`.
    """

    def advance(here: Here) -> Tensor:
        sigma_down, sigma_up = ancestral_step(here.sigma, here.sigma_next, given.options.eta)
        return freshened(given, _dpmpp_2s(given.denoise, here, sigma_down), sigma_up, here.index)

    return walk(given, advance)


def _dpmpp_2s(denoise: Denoise, here: Here, sigma_next: float) -> Tensor:
    if sigma_next == 0:
        return euler_step(here)
    middle = sqrt(here.sigma * sigma_next)
    ahead = denoise(toward(here.x, here.x0, middle / here.sigma), middle)
    return toward(here.x, ahead.x0, sigma_next / here.sigma)


def dpmpp_3s(given: Given) -> Iterator[Step]:
    """DPM-Solver++ of third order in one step: x0 at a third and at two thirds.  Three calls a step.

    Source: DPM-Solver++ (arXiv:2211.01095), appendix B; the authors' `singlestep_dpm_solver_third_update`.
    """

    def advance(here: Here) -> Tensor:
        if here.sigma_next == 0:
            return euler_step(here)
        h = log(here.sigma / here.sigma_next)
        third, two_thirds = (_between(here, share) for share in (1 / 3, 2 / 3))
        first = given.denoise(toward(here.x, here.x0, third / here.sigma), third).x0 - here.x0
        curve = expm1(-2 / 3 * h) / (2 / 3 * h) + 1
        x_second = toward(here.x, here.x0, two_thirds / here.sigma) + (2 * curve) * first
        second = given.denoise(x_second, two_thirds).x0 - here.x0
        curve = expm1(-h) / h + 1
        return toward(here.x, here.x0, here.sigma_next / here.sigma) + (1.5 * curve) * second

    return walk(given, advance)


def _between(here: Here, share: float) -> float:
    """The level at a share of the step, in log(sigma)."""
    return float(here.sigma * (here.sigma_next / here.sigma) ** share)


def dpm_fast(given: Given) -> Iterator[Step]:
    """DPM-Solver-fast: third order in every step but the last two, which are of second and of first.

    Source: DPM-Solver (arXiv:2206.00927), section 3.4, for a number of calls that 3 divides; k-diffusion's
    `sample_dpm_fast`.
    """
    steps = len(given.sigmas) - 1
    return dpm_solver(given, [3] * (steps - 2) + [2, 1][-min(steps, 2) :])


def dpm_solver(given: Given, orders: Sequence[int]) -> Iterator[Step]:
    """DPM-Solver of the order named for each step, one call for each order; to sigma 0 it is first.

    Source: DPM-Solver, Lu et al. 2022 (arXiv:2206.00927), algorithms 1 and 2 with r = 1/2; 1/3 and 2/3.
    """

    def advance(here: Here) -> Tensor:
        order = 1 if is_euler(here) else orders[here.index]
        if order == 3:
            return _dpm_3(given.denoise, here)
        return _midpoint(given.denoise, here, here.sigma_next) if order == 2 else euler_step(here)

    return walk(given, advance)


def _dpm_3(denoise: Denoise, here: Here) -> Tensor:
    """DPM-Solver-3: slopes at a third and at two thirds of the way in log(sigma).

    A difference of eps is one of x0, where the latents lie on Euler's line: the subtraction of two large
    latents is left out, for float32's sake.
    """
    h = log(here.sigma / here.sigma_next)
    third, two_thirds = (_between(here, share) for share in (1 / 3, 2 / 3))
    eps_1 = (here.x0 - denoise(toward(here.x, here.x0, third / here.sigma), third).x0) / third
    bend = (-two_thirds * 2 * (expm1(2 / 3 * h) / (2 / 3 * h) - 1)) * eps_1
    x_second = toward(here.x, here.x0, two_thirds / here.sigma) + bend
    eps_2 = (here.x0 - denoise(x_second, two_thirds).x0 + bend) / two_thirds
    x_next = toward(here.x, here.x0, here.sigma_next / here.sigma)
    return x_next - (here.sigma_next * 1.5 * (expm1(h) / h - 1)) * eps_2
