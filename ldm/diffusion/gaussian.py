"""Closed forms of the noising process, at the unit-variance scale a network is trained on.

Here x = sqrt(alphas_cumprod[t]) * x0 + sqrt(1 - alphas_cumprod[t]) * eps, and every picture of a batch has
its own timestep t.  Samplers need none of this: at unit signal one number, sigma, says it all.
"""

import torch
from torch import Tensor

from ..errors import check_choice
from .denoiser import PREDICTION_TYPES, PredictionType
from .schedule import NoiseSchedule


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


def _weights(schedule: NoiseSchedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of signal and noise at each picture's timestep, both (B, 1, 1, 1)."""
    alphas_cumprod = schedule.alphas_cumprod
    return _at(alphas_cumprod.sqrt(), t, x), _at((1 - alphas_cumprod).sqrt(), t, x)


def _at(table: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """(B, 1, 1, 1) entries of a (T,) float64 table, in the type and on the device of x."""
    return table.to(x.dtype).to(x.device)[t].reshape(-1, *[1] * (x.ndim - 1))
