"""Annealed Langevin dynamics, how the first score networks drew."""

from collections.abc import Callable, Iterator
from math import sqrt

import torch
from torch import Tensor

from ...trace import Step
from .base import Given, Here, SamplerOptions, euler_step, freshened, toward, walk

STEP_SHARE = 0.2  # of sigma**2: step_lr 2e-5 at sigma 0.01, NCSN's


def langevin(given: Given) -> Iterator[Step]:
    """Annealed Langevin: several small steps up the score at each level, each with as much noise as it needs.

        alpha = step_lr * (sigma / sigma_last)**2
        x_next = x + alpha * (x0 - x) / sigma**2 + sqrt(2 * alpha) * noise

    (x0 - x) / sigma**2 is the score.  A step to sigma 0 is the denoising at the end, x0.

    Each noise level stands as often as steps are made there, as `langevin_levels` has it.

    Source: Song & Ermon 2019 (arXiv:1907.05600), algorithm 1; the last step, Jolicoeur-Martineau et al. 2020
    (arXiv:2009.05475).
    """
    last = float(given.sigmas[given.sigmas > 0][-1])
    share = STEP_SHARE if given.options.step_lr is None else given.options.step_lr / last**2  # of sigma**2

    def advance(here: Here) -> Tensor:
        if here.sigma_next == 0:
            return euler_step(here)
        x_next = toward(here.x, here.x0, 1 - share)
        return freshened(given, x_next, sqrt(2 * share) * here.sigma, here.index)

    return walk(given, advance)


def langevin_levels(sigmas_of: Callable[[int], Tensor], steps: int, options: SamplerOptions) -> Tensor:
    """Noise levels for `steps` steps, each level `options.steps_per_level` times, the last one what is left.

    Args:
        sigmas_of: (n + 1,) falling noise levels for n steps; NCSN's are geometric, "exponential".
    """
    base = sigmas_of(-(-steps // options.steps_per_level))
    return torch.cat([base[:-1].repeat_interleave(options.steps_per_level)[:steps], base[-1:]])
