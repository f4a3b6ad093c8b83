"""The formulas of the spacings: timesteps of a schedule, or noise levels between its ends.

Timesteps and levels fall, noisiest first, and there are exactly as many as asked for, all different.  T is
the number of training timesteps, `train`; 1 <= steps <= T.  A fraction of a timestep is a level in between.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import check_choice
from .beta_quantile import beta_quantile


def trailing_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from the noisiest timestep T - 1 down in equal strides.

    Source: Lin et al. 2023 (arXiv:2305.08891), table 2.
    """
    return (torch.arange(steps, 0, -1, dtype=torch.float64) * train / steps).round() - 1


def leading_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from timestep 1 up in whole strides: CompVis's "uniform", but never a step too many.

    CompVis's runs past what was asked for wherever `steps` does not divide T, and past the last timestep
    where the stride is 1.  With `steps` equal to T these are all timesteps.

    Source: DDIM (arXiv:2010.02502), appendix D.2, "linear"; CompVis's `make_ddim_timesteps`.
    """
    offset = 1 if steps < train else 0  # stride 1 from 1 would run past the last timestep
    return torch.arange(steps - 1, -1, -1, dtype=torch.float64) * (train // steps) + offset


def linspace_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from T - 1 to 0, both included, fractions allowed.

    Source: k-diffusion's `DiscreteSchedule.get_sigmas`, the "normal" of ComfyUI.
    """
    return torch.linspace(train - 1, 0, steps, dtype=torch.float64)


def simple_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from T - 1 down, each stride rounded so that the timestep is the noisier one.

    Source: ComfyUI's `simple_scheduler`, in whole numbers: its product of floats is a timestep off here and
    there (38 steps of 1000 are the first).
    """
    return train - 1 - torch.arange(steps, dtype=torch.float64).mul(train).div(steps).floor()


def sgm_uniform_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from T - 1 in equal strides that would reach 0 a step later, fractions allowed.

    Source: generative-models' `LegacyDDPMDiscretization`, which cuts the fractions off; ComfyUI's
    "sgm_uniform" keeps them.
    """
    return torch.linspace(train - 1, 0, steps + 1, dtype=torch.float64)[:-1]


def beta_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from T - 1, quantiles of Beta(0.6, 0.6): closer together at both ends than in the middle.

    Source: Lee et al. 2024 (arXiv:2407.12173); ComfyUI's `beta_scheduler`, which rounds them and drops what
    is then double.
    """
    share = torch.arange(steps, dtype=torch.float64) / steps
    return (train - 1) * (1 - beta_quantile(share, 0.6))


def quad_timesteps(train: int, steps: int) -> Tensor:
    """(steps,) from 0.8 * T + 1 down to 1, closer together near 1, evenly spaced in the square root.

    Schedules of less than ten timesteps, where that runs past the last, start at T - 1.

    Source: DDIM (arXiv:2010.02502), appendix D.2, "quadratic"; CompVis's `make_ddim_timesteps`, which cuts
    the fractions off and then repeats timesteps.
    """
    top, bottom = min(0.8 * train + 1, train - 1), min(1, max(train - 2, 0))
    return bottom + (top - bottom) * torch.linspace(1, 0, steps, dtype=torch.float64) ** 2


def compvis_timesteps(kind: str, steps: int, train: int) -> list[int]:
    """CompVis's own rising list, "uniform" or "quad", for replay: other counts, repeats and all.

    It may end past the last timestep, T - 1; CompVis's program then stops with an IndexError.

    Source: CompVis's `make_ddim_timesteps`.
    """
    check_choice("kind", kind, ("uniform", "quad"))
    if kind == "uniform":
        return [t + 1 for t in range(0, train, train // steps)]
    roots = torch.linspace(0, math.sqrt(0.8 * train), steps, dtype=torch.float64)
    return [int(t) + 1 for t in (roots**2).tolist()]


def karras_sigmas(high: float, low: float, steps: int, rho: float = 7.0) -> list[float]:
    """`steps` levels evenly spaced in sigma**(1 / rho).

    Source: Karras et al. 2022 (arXiv:2206.00364), eq. 5.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    start, end = high ** (1 / rho), low ** (1 / rho)
    return _with_ends((start + ramp * (end - start)) ** rho, high, low)


def exponential_sigmas(high: float, low: float, steps: int) -> list[float]:
    """`steps` levels evenly spaced in log(sigma).

    Source: k-diffusion's `get_sigmas_exponential`.
    """
    return polyexponential_sigmas(high, low, steps)


def polyexponential_sigmas(high: float, low: float, steps: int, rho: float = 1.0) -> list[float]:
    """`steps` levels whose logarithm falls as a straight line to the power of rho.

    Source: k-diffusion's `get_sigmas_polyexponential`.
    """
    ramp = torch.linspace(1, 0, steps, dtype=torch.float64) ** rho
    return _with_ends((ramp * math.log(high / low) + math.log(low)).exp(), high, low)


def kl_optimal_sigmas(high: float, low: float, steps: int) -> list[float]:
    """`steps` levels evenly spaced in atan(sigma).

    Source: Sabour et al. 2024 (arXiv:2404.14507), where it is best for Gaussian data; AUTOMATIC1111's
    web UI took it from there.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return _with_ends(((1 - ramp) * math.atan(high) + ramp * math.atan(low)).tan(), high, low)


AYS_SD1 = (14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092,
           0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582)  # fmt: skip
AYS_SDXL = (14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141,
            0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582)  # fmt: skip


def ays_sigmas(table: Sequence[float], high: float, low: float, steps: int) -> list[float]:
    """`steps` levels of a table that was optimised for ten; its last level is where the last step ends.

    Other counts are interpolated in log(sigma).  On a schedule with other ends than Stable Diffusion's,
    log(sigma) is stretched so that the table's first level is the largest and its last the smallest.

    Args:
        table: AYS_SD1 or AYS_SDXL, 11 levels.

    Source: Sabour et al. 2024 (arXiv:2404.14507), "Align Your Steps", and NVIDIA's how-to page for it.
    """
    logs = torch.tensor(table, dtype=torch.float64).log()
    at = torch.linspace(0, len(table) - 1, steps + 1, dtype=torch.float64)
    before = at.floor().clamp(max=len(table) - 2).long()
    log = torch.lerp(logs[before], logs[before + 1], at - before)
    share = (log - logs[-1]) / (logs[0] - logs[-1])
    return _with_ends((share * math.log(high / low) + math.log(low)).exp(), high, low)[:-1]


def _with_ends(sigmas: Tensor, high: float, low: float) -> list[float]:
    """The first level and the last without the rounding of a power and its root."""
    return [high, *sigmas[1:-1].tolist(), low] if len(sigmas) > 1 else [high]
