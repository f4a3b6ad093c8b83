"""Closed forms of the noising process, at the unit-variance scale a network is trained on.

Here x = sqrt(alphas_cumprod[t]) * x0 + sqrt(1 - alphas_cumprod[t]) * eps, and every picture of a batch has
its own timestep t.  Samplers need none of this: at unit signal one number, sigma, says it all.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import check_choice
from .denoiser import PREDICTION_TYPES, PredictionType
from .schedule import NoiseSchedule

LossNorm = Literal["l1", "l2"]
LOSS_NORMS: tuple[LossNorm, ...] = ("l1", "l2")


class DenoisingLoss(NamedTuple):
    """Means over a batch: the plain error, the error weighted by timestep, and their weighted sum."""

    simple: Tensor
    vlb: Tensor
    total: Tensor


def q_sample(schedule: NoiseSchedule, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """(B, C, H, W) noisy latents: sqrt(alphas_cumprod) * x0 + sqrt(1 - alphas_cumprod) * eps.

    Args:
        x0, eps: (B, C, H, W) clean latents and unit noise.
        t: (B,) timesteps, 0 to T - 1.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 4.
    """
    signal, noise = _weights(schedule, t, x0)
    return signal * x0 + noise * eps


def target(
    schedule: NoiseSchedule, x0: Tensor, t: Tensor, eps: Tensor, prediction_type: PredictionType
) -> Tensor:
    """(B, C, H, W) what a perfect network returns for `q_sample` of the same arguments.

        v = sqrt(alphas_cumprod) * eps - sqrt(1 - alphas_cumprod) * x0

    Source: v, Salimans & Ho 2022 (arXiv:2202.00512), section 4.
    """
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    if prediction_type == "v":
        signal, noise = _weights(schedule, t, x0)
        return signal * eps - noise * x0
    return eps if prediction_type == "eps" else x0


def posterior(schedule: NoiseSchedule, x0: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the latents one timestep earlier, given x and what it was made from.

    Args:
        x0, x: (B, C, H, W) clean latents, and the noisy ones at t.
        t: (B,) timesteps; before timestep 0 there is no noise, so there the mean is x0 and the variance 0.

    Returns:
        (B, C, H, W) and (B, 1, 1, 1).

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 6 and 7.
    """
    now, betas = schedule.alphas_cumprod, schedule.betas
    before = torch.cat([now.new_ones(1), now[:-1]])
    mean_x0 = before.sqrt() * betas / (1 - now)
    mean_x = (1 - betas).sqrt() * (1 - before) / (1 - now)
    variance = betas * (1 - before) / (1 - now)
    return _at(mean_x0, t, x) * x0 + _at(mean_x, t, x) * x, _at(variance, t, x)


def vlb_weights(schedule: NoiseSchedule) -> Tensor:
    """(T,) float64 weights that make the squared error of eps the variational bound's term at each timestep.

        beta**2 / (2 * variance * (1 - beta) * (1 - alphas_cumprod)), the variance that of `posterior`

    At timestep 0 the variance is 0 and the weight infinite; there the weight of timestep 1 stands, as in
    CompVis.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 12.
    """
    now, betas = schedule.alphas_cumprod, schedule.betas
    variance = betas[1:] * (1 - now[:-1]) / (1 - now[1:])
    weights = betas[1:] ** 2 / (2 * variance * (1 - betas[1:]) * (1 - now[1:]))
    return torch.cat([weights[:1], weights])


def denoising_loss(
    output: Tensor,
    target: Tensor,
    t: Tensor,
    weights: Tensor,
    *,
    norm: LossNorm = "l2",
    simple_weight: float = 1.0,
    vlb_weight: float = 0.0,
) -> DenoisingLoss:
    """How far a network's output is from `target`: total = simple_weight * simple + vlb_weight * vlb.

    Args:
        output, target: (B, C, H, W) what the network gave and what it should have.
        t: (B,) timesteps.
        weights: (T,) of each timestep's error in `vlb`, as from `vlb_weights`.
        norm: mean absolute ("l1") or squared ("l2") error.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 14 for `simple`; Nichol & Dhariwal 2021 (arXiv:2102.09672),
    eq. 16, for the sum.
    """
    check_choice("norm", norm, LOSS_NORMS)
    error = (output - target).abs() if norm == "l1" else (output - target).square()
    each = error.flatten(1).mean(1)
    simple, vlb = each.mean(), (_at(weights, t, each) * each).mean()
    return DenoisingLoss(simple, vlb, simple_weight * simple + vlb_weight * vlb)


def prior_bits(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """(B,) bits per dimension still to be told of x0 (B, C, H, W) at the last timestep.

    The Kullback-Leibler divergence of what the noising process ends in from unit noise; small if the
    schedule destroys the picture.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 5, L_T.
    """
    signal = schedule.alphas_cumprod[-1].item()
    spread = -signal - math.log1p(-signal)  # variance - 1 - log(variance), which nearly cancel
    return 0.5 * (signal * x0.square().flatten(1).mean(1) + spread) / math.log(2)


def _weights(schedule: NoiseSchedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of signal and noise at each picture's timestep, both (B, 1, 1, 1)."""
    alphas_cumprod = schedule.alphas_cumprod
    return _at(alphas_cumprod.sqrt(), t, x), _at((1 - alphas_cumprod).sqrt(), t, x)


def _at(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """(B, 1, 1, 1) entries of a (T,) float64 table, in the type and on the device of x."""
    return table.to(x.dtype).to(x.device)[t].reshape(-1, *[1] * (x.ndim - 1))
