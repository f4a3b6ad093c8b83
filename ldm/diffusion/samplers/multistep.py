"""One call a step and higher order, by remembering answers: LMS, PLMS, IPNDM, DEIS, DPM++ 2M and 3M."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import exp, expm1, log

from torch import Tensor

from ...trace import Step
from .base import Given, Here, eps_of, euler_step, is_euler, move, toward, walk

ADAMS_BASHFORTH: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
# nodes in [-1, 1] and weights of Gauss and Legendre's rule with eight points
GAUSS = (
    (0.1834346424956498, 0.3626837833783620),
    (0.5255324099163290, 0.3137066458778873),
    (0.7966664774136267, 0.2223810344533745),
    (0.9602898564975363, 0.1012285362903763),
)


def lms(given: Given) -> Iterator[Step]:
    """Linear multistep: the polynomial in sigma through the last slopes (four by default), integrated.

    Source: Adams and Bashforth's method on k-diffusion's `sample_lms`' grid of noise levels.
    """
    order = given.options.order or 4

    def advance(here: Here) -> Tensor:
        return _along(here, _integrals(_nodes(here), here.sigma_next, lambda sigma: 1.0))

    return walk(given, advance, remember=order - 1)


def deis(given: Given) -> Iterator[Step]:
    """DEIS: as `lms`, the polynomial being one in log(sigma), through three slopes by default.

    A step to sigma 0 is Euler's.

    Source: Zhang & Chen 2022 (arXiv:2204.13902), eq. 15, tAB-DEIS, in log(rho) as in diffusers.
    """
    order = given.options.order or 3

    def advance(here: Here) -> Tensor:
        if here.sigma_next == 0:
            return euler_step(here)
        nodes = [log(sigma) for sigma in _nodes(here)]
        return _along(here, _integrals(nodes, log(here.sigma_next), exp))  # dsigma is sigma dlog(sigma)

    return walk(given, advance, remember=order - 1)


def _nodes(here: Here) -> list[float]:
    """Noise levels of the slopes there are, the latest first."""
    return [here.sigma, *(step.sigma for step in reversed(here.before))]


def _integrals(nodes: Sequence[float], end: float, density: Callable[[float], float]) -> list[float]:
    """Integrals from nodes[0] to `end` of the Lagrange polynomials through the nodes, times a density."""
    middle, half = (nodes[0] + end) / 2, (end - nodes[0]) / 2
    found = [0.0] * len(nodes)
    for distance, weight in GAUSS:
        for point in (middle + half * distance, middle - half * distance):
            for j, own in enumerate(nodes):
                value = weight * half * density(point)
                for other in (*nodes[:j], *nodes[j + 1 :]):
                    value *= (point - other) / (own - other)
                found[j] += value
    return found


def _along(here: Here, weights: Sequence[float]) -> Tensor:
    """The latents plus weights times slopes, the latest first; weights sum to sigma_next - sigma."""
    x_next = toward(here.x, here.x0, here.sigma_next / here.sigma)
    if len(weights) == 1:
        return x_next
    eps = here.eps
    for weight, step in zip(weights[1:], reversed(here.before), strict=True):
        # by what an earlier slope differs from this one: Euler's step above has used this one alone
        x_next = x_next + weight * (eps_of(step, eps) - eps)
    return x_next


def plms(given: Given) -> Iterator[Step]:
    """PLMS: Adams and Bashforth's weights for even steps, whatever the steps are; the first step is Heun's.

    Two calls in the first step, one in every other.  A step to sigma 0 is Euler's.

    Source: Liu et al. 2022 (arXiv:2202.09778), eq. 12, S-PNDM for the first step, F-PNDM's multistep
    after it; CompVis's `PLMSSampler`.
    """

    def advance(here: Here) -> Tensor:
        if here.sigma_next == 0:
            return euler_step(here)
        if here.before or here.index > 0 or is_euler(here):
            return _adams_bashforth(here)
        x_next = euler_step(here)
        ahead = given.denoise(x_next, here.sigma_next)
        return x_next + ((here.sigma - here.sigma_next) / (2 * here.sigma_next)) * (ahead.x0 - here.x0)

    return walk(given, advance, remember=3)


def ipndm(given: Given) -> Iterator[Step]:
    """IPNDM: as `plms`, but it starts with Euler's step: one call in every step.

    A step to sigma 0 is Euler's.

    Source: Zhang & Chen 2022 (arXiv:2204.13902), appendix H.2.
    """
    order = given.options.order or 4

    def advance(here: Here) -> Tensor:
        return euler_step(here) if here.sigma_next == 0 else _adams_bashforth(here)

    return walk(given, advance, remember=order - 1)


def _adams_bashforth(here: Here) -> Tensor:
    shares = ADAMS_BASHFORTH[len(here.before)]
    return _along(here, [share * (here.sigma_next - here.sigma) for share in shares])


def dpmpp_1(given: Given) -> Iterator[Step]:
    """DPM-Solver++ of first order, which is `ddim` with eta 0.

    Source: DPM-Solver++, Lu et al. 2022 (arXiv:2211.01095), eq. 8 with k = 1.
    """
    return walk(given, euler_step)


def dpmpp_2m(given: Given) -> Iterator[Step]:
    """Second order at one call a step, by remembering the previous x0.  Deterministic.

        r = log(sigma_before / sigma) / log(sigma / sigma_next)
        x0 = x0 + (x0 - x0_before) / (2 * r)
        x_next = x0 + (sigma_next / sigma) * (x - x0)

    The first step, and one to sigma 0, use x0 as it is: first order.

    Source: DPM-Solver++ (arXiv:2211.01095), algorithm 2; k-diffusion's `sample_dpmpp_2m`.
    """

    def advance(here: Here) -> Tensor:
        x0 = here.x0
        if here.before and here.sigma_next > 0:
            before = here.before[-1]
            r = log(before.sigma / here.sigma) / log(here.sigma / here.sigma_next)
            x0 = x0 + (x0 - before.prediction.x0.to(x0)) / (2 * r)
        return move(here, x0, here.sigma_next / here.sigma)

    return walk(given, advance, remember=1)


def dpmpp_3m(given: Given) -> Iterator[Step]:
    """Third order at one call a step, by remembering two x0.  Deterministic.

    The authors' program weighs the second difference by half of what its integral is, which leaves second
    order (measured: `benchmarks/exact.py`); so do diffusers and k-diffusion, and `dpmpp_3m_sde` after them.
    Here it has its full weight.

    Source: DPM-Solver++ (arXiv:2211.01095), eq. 8 with k = 3.
    """

    def advance(here: Here) -> Tensor:
        return third_order(here, 0.0, 2.0)

    return walk(given, advance, remember=2)


def third_order(here: Here, eta: float, bending: float) -> Tensor:
    """An exponential step with the slope and the bend of x0 as the steps before tell them.

    Args:
        eta: share of fresh noise, for which room is left; 0 is the ODE.
        bending: weight of the second divided difference; 2 is exact for parabolas, 1 is the authors'.
    """
    if here.sigma_next == 0:
        return euler_step(here)
    h = log(here.sigma / here.sigma_next)
    long = h * (1 + eta)
    x_next = toward(here.x, here.x0, exp(-long))
    if not here.before:
        return x_next
    phi_2 = expm1(-long) / long + 1
    x0s = [here.x0, *(step.prediction.x0.to(here.x0) for step in reversed(here.before))]
    levels = _nodes(here)
    r = [log(high / low) / h for low, high in pairwise(levels)]
    slope = (x0s[0] - x0s[1]) / r[0]
    if len(r) == 1:
        return x_next + phi_2 * slope
    earlier = (x0s[1] - x0s[2]) / r[1]
    bend = (slope - earlier) / (r[0] + r[1])
    return x_next + phi_2 * (slope + r[0] * bend) - (bending * (phi_2 / long - 0.5)) * bend
