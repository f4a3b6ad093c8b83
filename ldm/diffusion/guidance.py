"""Guidance: how what the network says with and without the prompt becomes one prediction.

Numbers and formulas only: `Denoiser` asks the network for what they need, `guide` in its module puts them
together.  A method is a formula of x0s, a schedule says how strong it is at which noise level.

To add one, write the function and add a line to METHODS or CFG_SCHEDULES.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import SettingsError, check_choice


@dataclass(frozen=True)
class Guidance:
    """What guidance is asked for.

    Attributes:
        scale: how far to go from the prediction without the prompt to the one with it, and beyond; 1 is off.
            A tuple has one for each picture of the batch.
        rescale: 0 to 1, how much of the standard deviation without guidance is brought back.
        method: a key of METHODS.
        schedule: a key of CFG_SCHEDULES.
        start, stop: the part of the way where a schedule acts: 0 is the noisiest timestep T - 1, 1 is
            timestep 0.  "constant" has no use for them.
        final_scale: where "linear" and "cosine" end; they begin with `scale`.
        threshold: percentile of dynamic thresholding, in (0, 1]; 0 is off.
        negative_scale: of "perpendicular": the weight of the negative prompt.
        image_scale: of "two_scale": the weight of the picture, s_I in the paper.

    Raises:
        SettingsError: a value is unknown or out of its range.
    """

    scale: float | tuple[float, ...] = 1.0
    rescale: float = 0.0
    method: str = "cfg"
    schedule: str = "constant"
    start: float = 0.0
    stop: float = 1.0
    final_scale: float = 1.0
    threshold: float = 0.0
    negative_scale: float = 1.0
    image_scale: float = 1.5

    def __post_init__(self) -> None:
        check_choice("guidance method", self.method, METHODS)
        check_choice("guidance schedule", self.schedule, CFG_SCHEDULES)
        if not self.scales:
            raise SettingsError("Guidance scale must have a number for each picture, got none.")
        for scale in self.scales:
            _check_finite("scale", scale)
        for name in ("final_scale", "negative_scale", "image_scale"):
            _check_finite(name, getattr(self, name))
        for name in ("rescale", "start", "stop", "threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # also refuses NaN
                raise SettingsError(f"Guidance {name} must be between 0 and 1, got {value}.")
        if self.start > self.stop:
            raise SettingsError(f"Guidance start must be at most its stop {self.stop}, got {self.start}.")

    @property
    def scales(self) -> tuple[float, ...]:
        """One number, or one for each picture."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale,)

    def scale_at(self, progress: float) -> float | tuple[float, ...]:
        """The scale at a point of the way, of the kind that `scale` is.

        Args:
            progress: as the function `progress` gives it, in [0, 1].
        """
        change = CFG_SCHEDULES[self.schedule]
        if isinstance(self.scale, tuple):
            return tuple(change(self, scale, progress) for scale in self.scale)
        return change(self, self.scale, progress)

    def at(self, progress: float) -> "Guidance":
        """What holds at a point of the way, and there is constant.

        Outside an interval that is no guidance at all, whatever the method: one network call.
        """
        if self.schedule == "constant":
            return self
        if self.schedule == "interval" and not self.start <= progress <= self.stop:
            return replace(self, scale=1.0, method="cfg", schedule="constant")
        return replace(self, scale=self.scale_at(progress), schedule="constant")

    def is_off(self, has_third: bool) -> bool:
        """Whether the prediction with the prompt is all that is needed; of what `at` gives.

        CFG++ never is: its steps keep the noise that is left without the prompt.

        Args:
            has_third: whether the method is given what it asks for beside the prompt and the empty one.
        """
        ones = all(scale == 1 for scale in self.scales)
        return ones and self.method != "cfg_pp" and self.is_conditional_at_1(has_third)

    def is_conditional_at_1(self, has_third: bool) -> bool:
        """Whether a scale of 1 gives the prediction with the prompt itself."""
        if self.method == "perpendicular":
            return not has_third or self.negative_scale == 0
        return self.method != "two_scale" or self.image_scale == 1


def progress(timestep: float, steps: int) -> float:
    """How much of the way is done at a timestep: 0 at T - 1, 1 at timestep 0.

    A function of the noise level alone, so it is the same for every sampler, and for the calls that some of
    them make on the way.

    Args:
        steps: T, the number of training timesteps.
    """
    return 1 - timestep / max(steps - 1, 1)


def combine(x0_cond: Tensor, x0_uncond: Tensor, x0_third: Tensor | None, guidance: Guidance) -> Tensor:
    """(B, C, H, W) guided clean latents, by guidance.method at guidance.scale.

    A picture whose scale of 1 means that guidance is off gets x0_cond to the last bit.

    Args:
        x0_cond: (B, C, H, W) predicted with the prompt.
        x0_uncond: (B, C, H, W) predicted with the negative prompt, or the empty one where there is a third.
        x0_third: (B, C, H, W) as `Prediction.x0_third`.
        guidance: what holds at this noise level: `Guidance.at`.

    Raises:
        SettingsError: two_scale without a third prediction.
    """
    scale: float | Tensor = guidance.scales[0]
    if isinstance(guidance.scale, tuple):
        scale = x0_cond.new_tensor(guidance.scale)[:, None, None, None]  # (B, 1, 1, 1)
    return METHODS[guidance.method](x0_cond, x0_uncond, x0_third, scale, guidance)


def cfg(
    cond: Tensor, uncond: Tensor, third: Tensor | None, scale: float | Tensor, guidance: Guidance
) -> Tensor:
    """Classifier-free guidance: from the prediction without the prompt towards the one with it, and beyond.

        x0 = uncond + scale * (cond - uncond)

    CFG++ is the same formula, with a scale in [0, 1] and `Prediction.keeps_uncond`.

    Source: Ho & Salimans 2022 (arXiv:2207.12598) eq. 6, where w is scale - 1; CFG++, Chung et al. 2024
    (arXiv:2406.08070).
    """
    return uncond + scale * (cond - uncond)


def perpendicular(
    cond: Tensor, uncond: Tensor, third: Tensor | None, scale: float | Tensor, guidance: Guidance
) -> Tensor:
    """Perp-Neg: away from the negative prompt, but never against what the prompt asks for.

        positive = cond - uncond
        negative = third - uncond
        perp = negative - <negative, positive> / <positive, positive> * positive
        x0 = uncond + scale * (positive - negative_scale * perp)

    with <,> over one picture, uncond of the empty prompt and third of the negative one.  Without a negative
    prompt it is `cfg`.

    Source: Armandpour et al. 2023 (arXiv:2304.04968).
    """
    if third is None:
        return cfg(cond, uncond, third, scale, guidance)
    positive, negative = cond - uncond, third - uncond
    square = (positive * positive).sum(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    along = (negative * positive).sum(dim=(1, 2, 3), keepdim=True)
    # where the prompt changes nothing, nothing is along it
    share = torch.where(square > 0, along / square, 0.0)
    perp = negative - share * positive
    return uncond + scale * (positive - guidance.negative_scale * perp)


def two_scale(
    cond: Tensor, uncond: Tensor, third: Tensor | None, scale: float | Tensor, guidance: Guidance
) -> Tensor:
    """InstructPix2Pix: one scale for the picture that is edited, one for the words.

        x0 = uncond + image_scale * (third - uncond) + scale * (cond - third)

    with uncond of neither, third of the picture alone, cond of both.

    Source: Brooks et al. 2022 (arXiv:2211.09800) eq. 3.

    Raises:
        SettingsError: there is no third prediction.
    """
    if third is None:
        raise SettingsError(
            "two_scale guidance needs the prediction of the picture alone, and there is none."
        )
    return uncond + guidance.image_scale * (third - uncond) + scale * (cond - third)


def limited(x0: Tensor, x0_cond: Tensor, percentile: float) -> Tensor:
    """(B, C, H, W) x0 after dynamic thresholding: what guidance blew up is brought back picture by picture.

        s = percentile of |x0|,  limit = percentile of |x0_cond|
        x0 = clamp(x0, -s, s) * limit / s  where s > limit

    Imagen's limit is 1, the range of pixels.  Latents have no such range, so it is what the picture reaches
    without guidance.

    Args:
        x0: (B, C, H, W) guided clean latents.
        x0_cond: (B, C, H, W) the same without guidance.
        percentile: in (0, 1]; at 1 nothing is cut off.

    Source: Saharia et al. 2022 (arXiv:2205.11487), section 2.3.
    """
    s, limit = (y.abs().flatten(1).quantile(percentile, dim=1)[:, None, None, None] for y in (x0, x0_cond))
    return torch.where(s > limit, x0.clamp(-s, s) * (limit / s), x0)


def _constant(guidance: Guidance, scale: float, progress: float) -> float:
    return scale


def _interval(guidance: Guidance, scale: float, progress: float) -> float:
    """Source: Kynkäänniemi et al. 2024 (arXiv:2404.07724), whose interval is one of noise levels."""
    return scale if guidance.start <= progress <= guidance.stop else 1.0


def _linear(guidance: Guidance, scale: float, progress: float) -> float:
    """Source: Wang et al. 2024 (arXiv:2404.13040); those that rise, as with scale 1, do best there."""
    return _between(scale, guidance.final_scale, _share(guidance, progress))


def _cosine(guidance: Guidance, scale: float, progress: float) -> float:
    """Half a wave: flat at both ends.  Source: as `_linear`."""
    share = (1 - math.cos(math.pi * _share(guidance, progress))) / 2
    return _between(scale, guidance.final_scale, share)


def _share(guidance: Guidance, progress: float) -> float:
    """How much of the way from start to stop is done, in [0, 1]."""
    if progress <= guidance.start:
        return 0.0
    if progress >= guidance.stop:
        return 1.0
    return (progress - guidance.start) / (guidance.stop - guidance.start)


def _between(first: float, last: float, share: float) -> float:
    """Exact at both ends: a scale of 1 there saves half of the network's work."""
    return last if share == 1 else first + share * (last - first)


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise SettingsError(f"Guidance {name} must be a finite number, got {value}.")


Method = Callable[[Tensor, Tensor, Tensor | None, float | Tensor, Guidance], Tensor]

METHODS: dict[str, Method] = {
    "cfg": cfg,
    "cfg_pp": cfg,
    "perpendicular": perpendicular,
    "two_scale": two_scale,
}

CFG_SCHEDULES: dict[str, Callable[[Guidance, float, float], float]] = {
    "constant": _constant,
    "interval": _interval,
    "linear": _linear,
    "cosine": _cosine,
}
