"""From a network that predicts eps, v or x0 to one question: what is the clean picture?

Knows the three ways to ask a network, guidance and its rescale.  The network itself is any function of
(x, t, context), so everything here can be tested against one whose answer is known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import check_choice
from ..trace import AttentionMaps, Prediction
from .schedule import NoiseSchedule

PredictionType = Literal["eps", "v", "x0"]
PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)

Network = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]


def to_x0(x: Tensor, sigma: float | Tensor, output: Tensor, prediction_type: PredictionType) -> Tensor:
    """(B, C, H, W) clean latents from a network's output.

        eps:  x0 = x - sigma * output
        v:    x0 = x / (1 + sigma**2) - output * sigma / sqrt(1 + sigma**2)
        x0:   x0 = output

    Args:
        x: (B, C, H, W) noisy latents, x0 + sigma * eps.
        sigma: noise level, a number or (B, 1, 1, 1).
        output: (B, C, H, W) what the network returned for x / sqrt(1 + sigma**2).

    Source: eps, Ho et al. 2020 (arXiv:2006.11239) eq. 15; v, Salimans & Ho 2022 (arXiv:2202.00512)
    appendix D; both in terms of sigma.
    """
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    if prediction_type == "eps":
        return x - sigma * output
    if prediction_type == "v":
        variance = 1 + sigma**2
        return x / variance - output * (sigma / variance**0.5)
    return output


def from_x0(x: Tensor, sigma: float | Tensor, x0: Tensor, prediction_type: PredictionType) -> Tensor:
    """(B, C, H, W) the network's output that means x0, the inverse of `to_x0`.

    Args:
        x: (B, C, H, W) noisy latents, x0 + sigma * eps.
        sigma: noise level, a number or (B, 1, 1, 1); above 0.
        x0: (B, C, H, W) clean latents.

        eps:  output = (x - x0) / sigma
        v:    output = (eps - sigma * x0) / sqrt(1 + sigma**2)
        x0:   output = x0

    Source: v, Salimans & Ho 2022 (arXiv:2202.00512), section 4.
    """
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    if prediction_type == "eps":
        return (x - x0) / sigma
    if prediction_type == "v":
        # x - x0 first: at small sigma the two are almost equal, and their difference is exact
        scale = (1 + sigma**2) ** 0.5
        return (x - x0) / (sigma * scale) - x0 * (sigma / scale)
    return x0


def guide(
    x: Tensor,
    sigma: float,
    x0_cond: Tensor,
    x0_uncond: Tensor | None,
    cfg_scale: float,
    cfg_rescale: float,
    prediction_type: PredictionType,
) -> Tensor:
    """(B, C, H, W) clean latents after classifier-free guidance, and its rescale.

        x0 = x0_uncond + cfg_scale * (x0_cond - x0_uncond)

    The network's output is x0 stretched and shifted by numbers that depend on x and sigma only, so guiding
    x0 is guiding eps or v.  The rescale is not so simple, it is made on the network's output:

        output = output * (1 - cfg_rescale + cfg_rescale * std(output_cond) / std(output))

    A pure function of what a `Step` stores: guidance can be done again after the run.

    Args:
        x: (B, C, H, W) noisy latents the predictions are about.
        x0_uncond: predicted with the negative prompt; None turns guidance off.
        cfg_scale: 1 is off, and gives x0_cond itself.
        cfg_rescale: 0 is off, 1 gives every picture the standard deviation it has without guidance.

    Source: Ho & Salimans 2022 (arXiv:2207.12598) eq. 6, where w is cfg_scale - 1; Lin et al. 2023
    (arXiv:2305.08891) eq. 15 and 16.
    """
    if x0_uncond is None or cfg_scale == 1:
        return x0_cond
    x0 = x0_uncond + cfg_scale * (x0_cond - x0_uncond)
    if cfg_rescale == 0:
        return x0
    output = from_x0(x, sigma, x0, prediction_type)
    # per picture, over C, H and W
    spread = output.std(dim=(1, 2, 3), correction=0, keepdim=True)  # (B, 1, 1, 1)
    spread_cond = from_x0(x, sigma, x0_cond, prediction_type).std(dim=(1, 2, 3), correction=0, keepdim=True)
    ratio = torch.where(
        spread > 0, spread_cond / spread, 1.0
    )  # an output without any spread has none to bring back
    return to_x0(x, sigma, output * (1 - cfg_rescale + cfg_rescale * ratio), prediction_type)


@dataclass(frozen=True, eq=False)
class Denoiser:
    """The network, conditioned and guided.  Call it with latents and a noise level.

    Attributes:
        network: called as network(x, t, context) with x (N, C, H, W) of unit variance, t (N,) timesteps that
            may be fractions, and context (N, T, D); returns its output (N, C, H, W) in the type of x, and one
            (N, T, h, w) tensor of attention per feature-map size, none when not recorded.  N is B or 2 * B.
        schedule: what the network was trained on.
        prediction_type: what the network returns.
        context: (B, T, D) embedding of the prompts.
        uncond: (B, T, D) embedding of the negative prompts; None turns guidance off.
        cfg_scale, cfg_rescale: as `guide`; with cfg_scale 1 the negative prompts cost nothing.
    """

    network: Network
    schedule: NoiseSchedule
    prediction_type: PredictionType
    context: Tensor
    uncond: Tensor | None = None
    cfg_scale: float = 1.0
    cfg_rescale: float = 0.0

    def __post_init__(self) -> None:
        check_choice("prediction_type", self.prediction_type, PREDICTION_TYPES)

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """Predict the clean latents in x: (B, C, H, W) float32 or float64, whose noise level is sigma > 0."""
        inputs = x / (1 + sigma**2) ** 0.5
        if self._is_guided:
            inputs = torch.cat([inputs, inputs])  # (2B, C, H, W)
        t = inputs.new_full((len(inputs),), self.timestep(sigma))
        output, maps = self.network(inputs, t, self._contexts)
        if not self._is_guided:
            x0 = to_x0(x, sigma, output, self.prediction_type)
            return Prediction(x0, x0, attention=_attention(maps))
        x0_uncond, x0_cond = (to_x0(x, sigma, half, self.prediction_type) for half in output.chunk(2))
        x0 = guide(x, sigma, x0_cond, x0_uncond, self.cfg_scale, self.cfg_rescale, self.prediction_type)
        halves = [m.chunk(2) for m in maps]
        return Prediction(
            x0,
            x0_cond,
            x0_uncond,
            attention=_attention(tuple(cond for _, cond in halves)),
            attention_uncond=_attention(tuple(uncond for uncond, _ in halves)),
        )

    def timestep(self, sigma: float) -> float:
        """What the network is told at this noise level, in [0, T - 1]."""
        return self.schedule.timestep(sigma)

    @property
    def _is_guided(self) -> bool:
        return self.uncond is not None and self.cfg_scale != 1

    @cached_property
    def _contexts(self) -> Tensor:
        """(B, T, D), or (2B, T, D) with the unconditional half first, as in CompVis."""
        if self.uncond is None or self.cfg_scale == 1:
            return self.context
        return torch.cat([self.uncond, self.context])


def _attention(maps: tuple[Tensor, ...]) -> AttentionMaps | None:
    return AttentionMaps(maps) if maps else None
