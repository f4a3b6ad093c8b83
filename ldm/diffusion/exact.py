"""Denoisers whose answer is known: data that is Gaussian, or a mixture of Gaussians.

Samplers can be measured against them: the clean latents, the probability-flow ODE and the distribution that
should come out are formulas.  Each position of the latents is a point of its own in C dimensions.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..trace import Prediction
from .schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Mixture:
    """The ideal denoiser of a mixture of Gaussians; of a single one `flow` is known too.

    Attributes:
        schedule: what timesteps noise levels are told as; nothing else depends on it.
        means: (K, C) float64.
        covariances: (K, C, C) float64, symmetric, positive definite.
        weights: (K,) float64, summing to 1.

    Source: Karras et al. 2022 (arXiv:2206.00364), appendix B.3, with Gaussians for points.
    """

    schedule: NoiseSchedule
    means: Tensor
    covariances: Tensor
    weights: Tensor

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """The mean of the data given x: (B, C, H, W), whose noise level is sigma > 0."""
        x0 = self.posterior_mean(x, sigma)
        return Prediction(x0, x0)

    def timestep(self, sigma: float) -> float:
        """As `NoiseSchedule.timestep`."""
        return self.schedule.timestep(sigma)

    def sigma_at(self, t: float) -> float:
        """As `NoiseSchedule.sigma_at`."""
        return self.schedule.sigma_at(t)

    def posterior_mean(self, x: Tensor, sigma: float) -> Tensor:
        """(B, C, H, W) E[x0 | x], the sum of each component's, by how likely it made x."""
        answers, likelihoods = [], []
        for k, (variances, axes) in enumerate(self._axes):
            mean = self.means[k].to(x)[:, None, None]
            along = _rotated(axes.T, x - mean)
            spread = (variances + sigma**2).to(x)[:, None, None]
            gain = variances.to(x)[:, None, None] / spread
            answers.append(mean + _rotated(axes, gain * along))
            if len(self.means) > 1:
                exponent = -0.5 * (along.square() / spread + spread.log()).sum(1, keepdim=True)
                likelihoods.append(exponent + math.log(float(self.weights[k])))
        if len(answers) == 1:
            return answers[0]
        shares = torch.cat(likelihoods, dim=1).softmax(1)  # (B, K, H, W)
        return sum((shares[:, k : k + 1] * answer for k, answer in enumerate(answers)), torch.zeros_like(x))

    def flow(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """(B, C, H, W) where the probability-flow ODE takes x.

        Raises:
            ValueError: the mixture has more than one component; its ODE has no formula.
        """
        if len(self.means) != 1:
            raise ValueError(f"flow is known of one Gaussian, this is a mixture of {len(self.means)}.")
        variances, axes = self._axes[0]
        mean = self.means[0].to(x)[:, None, None]
        factor = ((variances + sigma_next**2) / (variances + sigma**2)).sqrt().to(x)[:, None, None]
        return mean + _rotated(axes, factor * _rotated(axes.T, x - mean))

    def noisy(self, sigma: float, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """(B, C, H, W) float64 samples of the data under noise, of shape (B, H, W)."""
        batch, height, width = shape
        chosen = torch.multinomial(self.weights, batch * height * width, True, generator=generator)
        roots = torch.stack([axes * variances.sqrt() @ axes.T for variances, axes in self._axes])
        unit = torch.randn(2, len(chosen), self.means.shape[1], generator=generator, dtype=torch.float64)
        points = self.means[chosen] + torch.einsum("nij,nj->ni", roots[chosen], unit[0]) + sigma * unit[1]
        return points.reshape(batch, height, width, -1).permute(0, 3, 1, 2).contiguous()

    @property
    def mean(self) -> Tensor:
        """(C,) of the data."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(C, C) of the data."""
        away = self.means - self.mean
        each = self.covariances + away[:, :, None] * away[:, None, :]
        return (self.weights[:, None, None] * each).sum(0)

    @cached_property
    def _axes(self) -> list[tuple[Tensor, Tensor]]:
        """(C,) variances along (C, C) axes of each component."""
        return [tuple(torch.linalg.eigh(covariance)) for covariance in self.covariances]


def gaussian(schedule: NoiseSchedule) -> Mixture:
    """Two dimensions that depend on each other, off the centre."""
    return Mixture(
        schedule,
        torch.tensor([[0.3, -0.5]], dtype=torch.float64),
        torch.tensor([[[0.49, 0.2], [0.2, 0.25]]], dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
    )


def two_gaussians(schedule: NoiseSchedule) -> Mixture:
    """Two of them, of other weight, place and shape, near enough to be mistaken for each other."""
    return Mixture(
        schedule,
        torch.tensor([[1.0, 0.5], [-0.8, -0.4]], dtype=torch.float64),
        torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.25]]], dtype=torch.float64),
        torch.tensor([0.4, 0.6], dtype=torch.float64),
    )


def _rotated(axes: Tensor, x: Tensor) -> Tensor:
    """(B, C, H, W) by a (C, C) matrix over the channels."""
    return torch.einsum("ij,bjhw->bihw", axes.to(x), x)
