"""Samplers: walk down a list of noise levels, one Step at a time.

A sampler is a generator function.  It asks the denoiser for the clean picture, moves to the next noise level,
and yields what happened.  Stopping is just not asking for more; going on is calling it again with the steps
made so far: a sampler keeps nothing that is not in its arguments, so a run taken up at step k gives the same
bits.  All of them work at unit signal, x = x0 + sigma * eps.

To add one, write the function and add a line to SAMPLERS; the UI and the tests find it there.
"""

from collections.abc import Callable, Iterator, Sequence
from math import log, sqrt
from typing import Protocol

from torch import Tensor

from ..trace import Prediction, Step


class Denoise(Protocol):
    """What a sampler asks: usually a `Denoiser`, in tests a formula."""

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """Predict the clean latents in x, whose noise level is sigma > 0."""
        ...

    def timestep(self, sigma: float) -> float:
        """What the network is told at this noise level."""
        ...


Noise = Callable[[int], Tensor]  # (B, C, H, W) of unit variance; draw 0 is the start, draw k + 1 step k's
Sampler = Callable[[Denoise, Tensor, Tensor, float, Noise, Sequence[Step]], Iterator[Step]]


def ancestral_step(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Divide the next noise level into what is kept and what is drawn fresh.

        sigma_up = eta * sigma_next * sqrt(1 - (sigma_next / sigma)**2)

    Args:
        eta: 0 draws nothing; 1 is DDPM's posterior, with its smaller variance.

    Returns:
        (sigma_down, sigma_up) with sigma_down**2 + sigma_up**2 == sigma_next**2.

    Source: DDIM (arXiv:2010.02502) eq. 16 divided by sqrt(alphas_cumprod); the same as k-diffusion's
    `get_ancestral_step`.
    """
    ratio = sigma_next / sigma
    sigma_up = min(eta * sigma_next * sqrt(max(1 - ratio**2, 0.0)), sigma_next)
    # sigma_next**2 - sigma_up**2 with nothing left to cancel
    return sigma_next * sqrt(max(1 - eta**2 + (eta * ratio) ** 2, 0.0)), sigma_up


def ddim(
    denoise: Denoise, x: Tensor, sigmas: Tensor, eta: float, noise: Noise, history: Sequence[Step]
) -> Iterator[Step]:
    """DDIM: keep part of the noise that is there, draw the rest fresh.

        x_next = x0 + sigma_down * eps + sigma_up * noise

    Args:
        denoise: asked once a step.
        x: (B, C, H, W) latents going into step len(history), x0 + sigma * eps.
        sigmas: (steps + 1,) noise levels, falling; rising from above 0, the deterministic samplers run the
            other way, from latents to the noise that gives them.
        eta: share of fresh noise, 0 to 1.
        noise: draw k + 1 is used in step k.
        history: the steps made so far; the first one yielded is number len(history).

    Source: Song et al. 2021 (arXiv:2010.02502) eq. 12.
    """
    levels = sigmas.tolist()
    for index in range(len(history), len(levels) - 1):
        sigma, sigma_next = levels[index : index + 2]
        prediction = denoise(x, sigma)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x_next = _toward(x, prediction.x0, sigma_down / sigma)
        if sigma_up > 0:
            x_next = x_next + sigma_up * noise(index + 1).to(x)
        yield Step(index, sigma, sigma_next, denoise.timestep(sigma), x, prediction, x_next)
        x = x_next


def ddpm(
    denoise: Denoise, x: Tensor, sigmas: Tensor, eta: float, noise: Noise, history: Sequence[Step]
) -> Iterator[Step]:
    """DDPM, also called ancestral sampling: `ddim` with eta 1, whatever eta is.

    With all T timesteps this is Ho et al.'s sampler with the posterior's variance; with fewer, its extension
    to the levels that are visited.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 6 and 7; DDIM (arXiv:2010.02502), section 4.1.
    """
    return ddim(denoise, x, sigmas, 1.0, noise, history)


def euler(
    denoise: Denoise, x: Tensor, sigmas: Tensor, eta: float, noise: Noise, history: Sequence[Step]
) -> Iterator[Step]:
    """Euler's method on the probability-flow ODE, dx/dsigma = eps: `ddim` with eta 0, whatever eta is.

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 1 without its lines 6 to 8; k-diffusion's
    `sample_euler`.
    """
    return ddim(denoise, x, sigmas, 0.0, noise, history)


def euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, eta: float, noise: Noise, history: Sequence[Step]
) -> Iterator[Step]:
    """An Euler step further down than asked for, then fresh noise up to the level: `ddim` by another name.

    Source: k-diffusion's `sample_euler_ancestral`.
    """
    return ddim(denoise, x, sigmas, eta, noise, history)


def heun(
    denoise: Denoise, x: Tensor, sigmas: Tensor, eta: float, noise: Noise, history: Sequence[Step]
) -> Iterator[Step]:
    """Second order: look ahead one Euler step, then use the average slope.  Deterministic, two calls a step.

        x_next = x + (sigma_next - sigma) * (eps + eps_ahead) / 2

    A step to sigma 0 is Euler's: there is no slope at 0.

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 1; k-diffusion's `sample_heun`.
    """
    levels = sigmas.tolist()
    for index in range(len(history), len(levels) - 1):
        sigma, sigma_next = levels[index : index + 2]
        prediction = denoise(x, sigma)
        x_next = _toward(x, prediction.x0, sigma_next / sigma)
        if sigma_next > 0:
            ahead = denoise(x_next, sigma_next)
            # the same formula in terms of x0: exact in float32 where sigma is large and sigma_next is not
            x_next = x_next + ((sigma - sigma_next) / (2 * sigma_next)) * (ahead.x0 - prediction.x0)
        yield Step(index, sigma, sigma_next, denoise.timestep(sigma), x, prediction, x_next)
        x = x_next


def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, eta: float, noise: Noise, history: Sequence[Step]
) -> Iterator[Step]:
    """Second order at one call a step, by remembering the previous x0.  Deterministic.

        r = log(sigma_before / sigma) / log(sigma / sigma_next)
        x0 = x0 + (x0 - x0_before) / (2 * r)
        x_next = x0 + (sigma_next / sigma) * (x - x0)

    The first step, and one to sigma 0, use x0 as it is: first order.

    Source: DPM-Solver++ (arXiv:2211.01095), algorithm 2; k-diffusion's `sample_dpmpp_2m`.
    """
    levels = sigmas.tolist()
    before = history[-1] if history else None
    for index in range(len(history), len(levels) - 1):
        sigma, sigma_next = levels[index : index + 2]
        prediction = denoise(x, sigma)
        x0 = prediction.x0
        if before is not None and sigma_next > 0:
            r = log(before.sigma / sigma) / log(sigma / sigma_next)
            x0 = x0 + (x0 - before.prediction.x0.to(x)) / (2 * r)
        before = Step(
            index,
            sigma,
            sigma_next,
            denoise.timestep(sigma),
            x,
            prediction,
            _toward(x, x0, sigma_next / sigma),
        )
        yield before
        x = before.x_next


def _toward(x: Tensor, x0: Tensor, ratio: float) -> Tensor:
    """x0 + ratio * (x - x0), the one step of every sampler: `ratio` of the noise stays.

    With ratio 0 it is x0 to the last bit, at any noise level.
    """
    return x0 + ratio * (x - x0)


SAMPLERS: dict[str, Sampler] = {
    "dpmpp_2m": dpmpp_2m,
    "ddim": ddim,
    "ddpm": ddpm,
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
}

USES_ETA = frozenset({"ddim", "euler_ancestral"})  # the others have it fixed

DEFAULT_ETA: dict[str, float] = {
    "dpmpp_2m": 0.0,
    "ddim": 0.0,
    "ddpm": 1.0,
    "euler": 0.0,
    "euler_ancestral": 1.0,
    "heun": 0.0,
}
