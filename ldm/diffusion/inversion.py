"""Inversion: from clean latents to the noise that a deterministic sampler makes them of."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from ..trace import Step
from .samplers.base import Denoise


def encode(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    refinements: int = 0,
    history: Sequence[Step] = (),
) -> Iterator[Step]:
    """DDIM's way back: each step is the one that `ddim` without noise makes downwards, solved for its start.

        x = x_next + (sigma - sigma_next) * eps(x_next, sigma_next)

    x_next is on both sides.  The first guess takes eps at x itself, told as sigma_next's timestep, which is
    what is usually called DDIM inversion; each refinement takes it at the last guess, and where that settles
    `ddim` on the same levels leads back to x exactly.

    Args:
        x: (B, C, H, W) latents at sigmas[len(history)]; clean ones at sigma 0.
        sigmas: (steps + 1,) rising noise levels, the first may be 0.
        refinements: how often the guess is improved, at one call of the network each.
        history: the steps made so far.

    Source: Song et al. 2021 (arXiv:2010.02502), section 4.3; the fixed point, Pan et al. 2023
    (arXiv:2309.04907), algorithm 1.
    """
    levels = sigmas.tolist()
    for index in range(len(history), len(levels) - 1):
        sigma, sigma_next = levels[index : index + 2]
        # as far from the origin as latents of that level are, so the network sees x at its own variance
        guess = x * ((1 + sigma_next**2) / (1 + sigma**2)) ** 0.5
        for _ in range(refinements + 1):
            asked = guess
            prediction = denoise(asked, sigma_next)
            guess = uphill(x, asked, prediction.x0, sigma, sigma_next)
        timestep = denoise.timestep(sigma_next)
        yield Step(index, sigma, sigma_next, timestep, x, prediction, guess, sigma_next, asked)
        x = guess


def uphill(x: Tensor, asked: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """(B, C, H, W) latents at sigma_next, by the noise that is found in those `asked` about there."""
    return x + (sigma_next - sigma) * ((asked - x0) / sigma_next)
