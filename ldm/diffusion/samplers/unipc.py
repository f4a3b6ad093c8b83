"""UniPC: predict, and correct the last prediction by what the network said there, at no call more."""

from collections.abc import Iterator, Sequence
from math import expm1, log

import torch
from torch import Tensor

from ...trace import Step
from .base import Given, Here, toward, unbroken


def unipc(given: Given) -> Iterator[Step]:
    """UniPC, B(h) = exp(h) - 1, predicting x0; of second order by default, the corrector one more.

    `Step.x` is what was predicted, and what the network is asked about.  The corrected latents are where the
    next prediction starts; they follow from the steps so far, and are computed again when a run is taken up.
    Latents that another sampler made (a run taken up with this one) are no prediction to correct.

    Source: Zhao et al. 2023 (arXiv:2302.04867), algorithms 7 and 8 in terms of x0; diffusers' `bh2`.
    """
    order = given.options.order or 2
    levels = given.sigmas.tolist()
    steps = len(levels) - 1
    made: list[Step] = []
    x = corrected = given.x
    predicted: Tensor | None = None
    for step in given.history:
        here = _here(step, made, x)
        corrected = _corrected(here, corrected, predicted, steps, order)
        predicted = predicted_from(here, corrected, min(order, steps - step.index))
        made = [*made[-order:], step]
    for index in range(len(given.history), steps):
        sigma, sigma_next = levels[index : index + 2]
        prediction = given.denoise(x, sigma)
        here = Here(index, sigma, sigma_next, x, prediction, unbroken(made, sigma, sigma_next))
        replayed = predicted if index == len(given.history) else x
        corrected = _corrected(here, corrected, replayed, steps, order)
        x_next = predicted_from(here, corrected, min(order, steps - index))
        step = Step(index, sigma, sigma_next, given.denoise.timestep(sigma), x, prediction, x_next)
        made = [*made[-order:], step]
        yield step
        x = x_next


def _here(step: Step, made: Sequence[Step], like: Tensor) -> Here:
    before = unbroken(made, step.sigma, step.sigma_next)
    return Here(step.index, step.sigma, step.sigma_next, step.x.to(like), step.prediction, before)


def _corrected(here: Here, corrected: Tensor, predicted: Tensor | None, steps: int, order: int) -> Tensor:
    """`corrected_by` where the latents are what was `predicted`; else themselves."""
    if predicted is None or (predicted is not here.x and not _are_near(here.x, predicted)):
        return here.x
    return corrected_by(here, corrected, steps, order)


def _are_near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-3 * b.norm())


def predicted_from(here: Here, corrected: Tensor, order: int) -> Tensor:
    """From the corrected latents at this level to those at the next."""
    ratio = here.sigma_next / here.sigma
    order = min(order, 1 + len(here.before))
    if order == 1 or here.sigma_next == 0:
        return toward(corrected, here.x0.to(corrected), ratio)
    slopes, r = _slopes(here.x0, here.sigma, here.before[-(order - 1) :], here.sigma_next, corrected)
    weights = [0.5] if order == 2 else _weights(r, log(ratio))
    return _stepped(corrected, here.x0, ratio, weights, slopes)


def corrected_by(here: Here, corrected: Tensor, steps: int, order: int) -> Tensor:
    """The latents at this level, from the corrected ones at the level before and what is known here.

    Args:
        corrected: (B, C, H, W) of the level before; of the first step, and after a break, not used.
    """
    if not here.before:
        return here.x
    last, earlier = here.before[-1], here.before[:-1]
    order = min(order, steps - last.index, 1 + len(earlier))
    x0 = last.prediction.x0.to(corrected)
    chosen = earlier[len(earlier) - (order - 1) :]
    slopes, r = _slopes(x0, last.sigma, chosen, here.sigma, corrected)
    slopes = [*slopes, here.x0.to(x0) - x0]
    weights = [0.5] if order == 1 else _weights([*r, 1.0], log(here.sigma / last.sigma))
    return _stepped(corrected, x0, here.sigma / last.sigma, weights, slopes)


def _slopes(
    x0: Tensor, sigma: float, earlier: Sequence[Step], sigma_next: float, like: Tensor
) -> tuple[list[Tensor], list[float]]:
    """(x0 of each earlier step, the latest first, minus x0) / r, and the r: distances in log(sigma) / h."""
    h = log(sigma / sigma_next)
    r = [log(sigma / step.sigma) / h for step in reversed(earlier)]
    x0 = x0.to(like)
    return [(s.prediction.x0.to(x0) - x0) / k for s, k in zip(reversed(earlier), r, strict=True)], r


def _weights(r: Sequence[float], hh: float) -> list[float]:
    """Weights of slopes at distances r that make the step exact for polynomials: the paper's R rho = b.

    Args:
        hh: log(sigma_next / sigma), which is -h.
    """
    phi, factorial, b = expm1(hh) / hh - 1, 1.0, []
    for k in range(2, len(r) + 2):
        b.append(phi * factorial / expm1(hh))
        factorial *= k
        phi = phi / hh - 1 / factorial
    rows = torch.tensor([[node**k for node in r] for k in range(len(r))], dtype=torch.float64)
    solution: list[float] = torch.linalg.solve(rows, torch.tensor(b, dtype=torch.float64)).tolist()
    return solution


def _stepped(
    x: Tensor, x0: Tensor, ratio: float, weights: Sequence[float], slopes: Sequence[Tensor]
) -> Tensor:
    """Toward x0, corrected by the slopes; 1 - ratio is the paper's -B(h)."""
    x_next = toward(x, x0.to(x), ratio)
    for weight, slope in zip(weights, slopes, strict=True):
        x_next = x_next + ((1 - ratio) * weight) * slope
    return x_next
