"""Noise schedules: how much noise each training timestep carries.

A network is trained on `sqrt(alphas_cumprod[t]) * x0 + sqrt(1 - alphas_cumprod[t]) * eps`
(unit variance).  Samplers here use the same latents divided by `sqrt(alphas_cumprod[t])`
(unit signal), where x = x0 + sigma * eps and one number says everything:

    sigma = sqrt((1 - alphas_cumprod) / alphas_cumprod)

`Denoiser` multiplies by `1 / sqrt(1 + sigma**2)` on the way into the network.
To add a schedule, write the function and add a line to BETAS.  Which noise levels a sampler visits is in
`spacing.py`.

Source: Karras et al. 2022 (arXiv:2206.00364), table 1, column "VP".
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from ..errors import check_choice

SMALLEST_ALPHA_CUMPROD = 2.0**-24  # of a zero-terminal-SNR schedule: sigma 4096 instead of infinity


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much signal is left at each training timestep.

    Attributes:
        alphas_cumprod: (T,) float64, the signal's share of the variance, falling from almost 1 to almost 0.
    """

    alphas_cumprod: Tensor

    @classmethod
    def from_betas(cls, betas: Tensor) -> Self:
        """betas: (T,) share of the variance replaced with noise per timestep, each in (0, 1)."""
        return cls(torch.cumprod(1 - betas.double(), dim=0))

    @cached_property
    def sigmas(self) -> Tensor:
        """(T,) float64 noise level of each training timestep, rising."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @cached_property
    def betas(self) -> Tensor:
        """(T,) float64 share of the variance that each timestep replaces with noise."""
        before = torch.cat([self.alphas_cumprod.new_ones(1), self.alphas_cumprod[:-1]])
        return 1 - self.alphas_cumprod / before

    @cached_property
    def _table(self) -> tuple[list[float], list[float]]:
        """Sigmas and their logarithms as plain numbers: a look-up takes a microsecond instead of fifty."""
        sigmas: list[float] = self.sigmas.tolist()
        return sigmas, [math.log(sigma) for sigma in sigmas]

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def timestep(self, sigma: float) -> float:
        """Training timestep of a noise level, in [0, T - 1].

        Interpolated in log sigma, a noise level of the table gives its timestep exactly; below the first
        timestep's it is 0, above the last one's T - 1.

        Source: k-diffusion's `DiscreteSchedule.sigma_to_t`.
        """
        sigmas, logs = self._table
        high = bisect_left(sigmas, sigma)
        if high == len(sigmas):
            return high - 1.0
        if high == 0 or sigmas[high] == sigma:
            return float(high)
        low = high - 1
        return low + (math.log(sigma) - logs[low]) / (logs[high] - logs[low])

    def sigma_at(self, t: float) -> float:
        """Noise level of a timestep, the inverse of `timestep`; t is clamped to [0, T - 1]."""
        sigmas, logs = self._table
        t = min(max(t, 0.0), len(sigmas) - 1.0)
        low = math.floor(t)
        weight = t - low
        if weight == 0:
            return sigmas[low]
        return math.exp((1 - weight) * logs[low] + weight * logs[low + 1])


def linear_betas(steps: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Tensor:
    """(steps,) evenly spaced.  CompVis calls this "sqrt_linear", diffusers "linear".

    Source: Ho et al. 2020 (arXiv:2006.11239), section 4.
    """
    return torch.linspace(start, end, steps, dtype=torch.float64)


def scaled_linear_betas(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """(steps,) squares of evenly spaced numbers; Stable Diffusion's.  CompVis calls this "linear".

    Source: CompVis's `make_beta_schedule`; diffusers' name is "scaled_linear".
    """
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2


def sqrt_betas(steps: int = 1000, start: float = 1e-4, end: float = 2e-2) -> Tensor:
    """(steps,) square roots of evenly spaced numbers.  CompVis calls this "sqrt"."""
    return torch.linspace(start, end, steps, dtype=torch.float64) ** 0.5


def cosine_betas(steps: int = 1000, start: float = 0.0, end: float = 0.999, offset: float = 0.008) -> Tensor:
    """(steps,) so that alphas_cumprod is a squared cosine.  diffusers calls this "squaredcos_cap_v2".

    Args:
        start: not used: a cosine has no slope to choose.
        end: not used: betas are cut at 0.999, as everywhere.
        offset: keeps the first betas from being too small to matter.

    Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17.
    """
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    alphas_cumprod = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(0, 0.999)


def offset_cosine_betas(steps: int = 1000, start: float = 0.0, end: float = 0.999) -> Tensor:
    """(steps,) so that sqrt(alphas_cumprod) is the cosine of an angle that rises evenly: 0.95 down to 0.02.

    Args:
        start: not used: the first and the last share of signal are fixed.
        end: not used, the same.

    Source: the "offset cosine diffusion schedule" of Foster, Generative Deep Learning (2nd edition, 2023),
    chapter 8, after Keras's example "Denoising Diffusion Implicit Models" (Béras 2022).
    """
    angles = torch.linspace(math.acos(0.95), math.acos(0.02), steps, dtype=torch.float64)
    return NoiseSchedule(angles.cos() ** 2).betas


def geometric_betas(steps: int = 10, start: float = 0.02, end: float = 2.0) -> Tensor:
    """(steps,) so that sigmas rise geometrically from `start` to `end`: the noise levels of a score network.

    NCSN's are 0.01 to 1 for pictures in [0, 1], which is twice as much for pictures in [-1, 1].

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4.
    """
    low, high = torch.tensor([start, end], dtype=torch.float64).log().tolist()
    sigmas = torch.linspace(low, high, steps, dtype=torch.float64).exp()
    return NoiseSchedule(1 / (1 + sigmas**2)).betas


BETAS: dict[str, Callable[[int, float, float], Tensor]] = {
    "scaled_linear": scaled_linear_betas,
    "linear": linear_betas,
    "cosine": cosine_betas,
    "sqrt": sqrt_betas,
    "offset_cosine": offset_cosine_betas,
    "geometric": geometric_betas,
}


def rescale_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """(T,) the same schedule, shifted so that its last timestep is pure noise; the first is kept.

    The last value is not 0 but 2**-24 (sigma 4096), so that noise levels stay finite: the signal that is
    left there is less than float32 can tell from none.

    Source: Lin et al. 2023 (arXiv:2305.08891), algorithm 1.
    """
    roots = alphas_cumprod.double().sqrt()
    if len(roots) > 1:
        roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    rescaled = roots**2
    # or half the value before it: a schedule of very many timesteps must keep falling
    before = float(rescaled[-2]) if len(rescaled) > 1 else 1.0
    rescaled[-1] = min(SMALLEST_ALPHA_CUMPROD, before / 2)
    return rescaled


def build_schedule(
    *, n_steps: int, betas: str, linear_start: float, linear_end: float, zero_terminal_snr: bool = False
) -> NoiseSchedule:
    """The schedule a config describes; the arguments are the fields of `ScheduleConfig`.

    Args:
        n_steps: T, the number of training timesteps.
        betas: a key of BETAS.

    Raises:
        SettingsError: `betas` is unknown.
    """
    check_choice("betas", betas, BETAS)
    schedule = NoiseSchedule.from_betas(BETAS[betas](n_steps, linear_start, linear_end))
    if zero_terminal_snr:
        return NoiseSchedule(rescale_zero_terminal_snr(schedule.alphas_cumprod))
    return schedule
