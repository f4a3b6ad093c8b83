"""Quantiles of the beta distribution, for the spacing of that name."""

import math

import torch
from torch import Tensor

TERMS = 48  # of a series whose terms shrink by at least half each: to the last bit
ITERATIONS = 6  # of Newton's method: to the last bit


def beta_quantile(share: Tensor, shape: float) -> Tensor:
    """(N,) where the cumulative distribution of Beta(shape, shape) reaches each `share`.

    The integral over x**(shape - 1) * (1 - x)**(shape - 1) up to x <= 1/2 is, with u = x**shape, the power
    series u / shape * sum(c[n] * x**n).  In u it is almost a straight line, which Newton's method inverts.
    Beyond the middle the distribution is mirrored.

    Args:
        share: (N,) float64, probabilities in [0, 1].
        shape: both parameters of the distribution, above 0 and at most 1.

    Source: NIST Digital Library of Mathematical Functions, 8.17.7 (the incomplete beta function as 2F1).
    """
    coefficients = _coefficients(shape)
    complete = math.exp(2 * math.lgamma(shape) - math.lgamma(2 * shape))
    target = torch.minimum(share, 1 - share) * complete * shape
    u = target
    for _ in range(ITERATIONS):
        x = u ** (1 / shape)
        u = u - (u * _polynomial(coefficients, x) - target) * (1 - x) ** (1 - shape)
    x = u ** (1 / shape)
    return torch.where(share > 0.5, 1 - x, x)


def _coefficients(shape: float) -> list[float]:
    """c[n] of (1 - x)**(shape - 1) = sum(b[n] * x**n), integrated: c[n] = b[n] * shape / (shape + n)."""
    power, found = 1.0, []
    for n in range(TERMS):
        found.append(power * shape / (shape + n))
        power *= (n + 1 - shape) / (n + 1)
    return found


def _polynomial(coefficients: list[float], x: Tensor) -> Tensor:
    """Horner's rule."""
    value = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * x + c
    return value
