"""Restart: go back up by adding noise, and come down again."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from ...trace import Step
from .base import Given, Here, SamplerOptions, freshened
from .single_step import heun_step

RESTART_FROM, RESTART_TO = 0.1, 2.0  # noise levels between which a run goes up again


def restart(given: Given) -> Iterator[Step]:
    """Heun's steps; where the levels rise, noise up to there is added at the end of the step before.

    The noise undoes errors that steps so far have left, and coming down again is as exact as the first time.

    Noise levels with rises are what `restart_levels` gives.

    Source: Xu et al. 2023 (arXiv:2306.14878), algorithm 1.
    """
    x, advance = given.x, heun_step(given.denoise)
    for index, (sigma, sigma_low, sigma_next) in enumerate(stretches(given.sigmas.tolist())):
        if index < len(given.history):
            continue
        prediction = given.denoise(x, sigma)
        x_next = advance(Here(index, sigma, sigma_low, x, prediction))
        if sigma_next > sigma_low:
            x_next = freshened(given, x_next, sqrt(sigma_next**2 - sigma_low**2), index)
        yield Step(index, sigma, sigma_next, given.denoise.timestep(sigma), x, prediction, x_next)
        x = x_next


def stretches(levels: Sequence[float]) -> list[tuple[float, float, float]]:
    """(sigma, where the step ends, where it is after noise) for each step: a rise ends the step before."""
    found: list[tuple[float, float, float]] = []
    for low, high in pairwise(levels):
        if high > low and found:
            found[-1] = (*found[-1][:2], high)
        else:
            found.append((low, high, high))
    return found


def again(steps: int) -> tuple[int, int]:
    """How often a run of so many steps goes up, and of how many steps each way down again is."""
    return (1, min(9, steps // 3)) if steps < 36 else (2, steps // 4)


def restart_levels(sigmas_of: Callable[[int], Tensor], steps: int, options: SamplerOptions) -> Tensor:
    """Noise levels for `steps` steps in all, those that come down again included.

    Up to 35 steps go up once, longer runs twice; about a third, of long runs a half, of the steps are spent
    on that, in Karras's spacing.  Runs of less than 6 steps, or with no two levels near RESTART_FROM and
    RESTART_TO, do not go up.

    Args:
        sigmas_of: (n + 1,) falling noise levels for n steps.

    Source: the levels of Xu et al. 2023 (arXiv:2306.14878), table 7, for Stable Diffusion; the shares are
    those of AUTOMATIC1111's restart sampler.
    """
    times, each = again(steps)
    if steps < 6:
        return sigmas_of(steps)
    base = sigmas_of(steps - each * times)
    low, high = (int((base[:-1] - level).abs().argmin()) for level in (RESTART_FROM, RESTART_TO))
    if high >= low:
        return sigmas_of(steps)
    ramp = torch.linspace(0, 1, each + 1, dtype=torch.float64)
    top, bottom = float(base[high]) ** (1 / 7), float(base[low]) ** (1 / 7)
    down = (top + ramp * (bottom - top)) ** 7
    down[0], down[-1] = base[high], base[low]
    return torch.cat([base[: low + 1], *[down] * times, base[low + 1 :]])
