"""What a step would have been with other guidance: from what is stored, without the network."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from ..diffusion.denoiser import PREDICTION_TYPES, PredictionType, guide
from ..diffusion.guidance import Guidance, progress
from ..errors import SettingsError, check_choice, check_index
from ..settings import LIMITS
from ..trace import Step, Trace
from .asked import guidance_of
from .start import latent_mask

CFG_RANGE = LIMITS["cfg_scale"]


def guided(
    trace: Trace,
    step: int,
    cfg_scale: float,
    cfg_rescale: float | None = None,
    picture: int | None = None,
    *,
    n_steps: int = 1000,
) -> Tensor:
    """(B, C, H, W) the clean latents that a step would have predicted with another guidance.

    What a call of the network with these settings gives, without one: both of its predictions are stored.

    Args:
        step: its index.
        cfg_scale: as in `Settings`, one for all pictures; method and schedule are the run's.
        cfg_rescale: as in `Settings`; None is the run's.
        picture: only this one of the batch, as (1, C, H, W); None is all of them.
        n_steps: T of the model, its training timesteps.

    Raises:
        SettingsError: the run has no such step or picture, a value is out of its range, only one prediction
            was made, or a kept part of the picture hides what a formula needs of all of it.
    """
    for name, value in (("cfg_scale", cfg_scale), ("cfg_rescale", cfg_rescale)):
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise SettingsError(f"{name} must be a number, got {value!r:.40}.")
    low, high = CFG_RANGE
    if not low <= cfg_scale <= high:
        raise SettingsError(f"cfg_scale must be between {low:g} and {high:g} here, got {cfg_scale!s:.40}.")
    made = _step(trace, step)
    settings = trace.settings
    guidance = replace(
        guidance_of(settings),
        scale=float(cfg_scale),
        rescale=settings.cfg_rescale if cfg_rescale is None else cfg_rescale,
    ).at(progress(made.timestep, n_steps))
    _check_stored(trace, made, guidance)
    if picture is not None:
        check_index("picture", picture, len(made.x))
        made = made.of_picture(picture)
    p = made.prediction
    x = made.x if made.x_asked is None else made.x_asked
    sigma = made.sigma if made.sigma_asked is None else made.sigma_asked
    check_choice("prediction_type", trace.prediction_type, PREDICTION_TYPES)
    kind = cast(PredictionType, trace.prediction_type)
    return guide(x, sigma, p.x0_cond, p.x0_uncond, p.x0_third, guidance, kind)


def _step(trace: Trace, index: int) -> Step:
    check_index("step", index, len(trace.steps))
    return trace.steps[index]


def _check_stored(trace: Trace, step: Step, guidance: Guidance) -> None:
    """Raise SettingsError if what is stored of a step does not tell what this guidance makes of it."""
    p = step.prediction
    if p.x0_uncond is None:
        if all(s.prediction.x0_uncond is None for s in trace.steps):
            what = "This run"
        elif guidance.is_off(has_third=False):  # outside an interval there is none, whatever the scale
            return
        else:
            what = f"Step {step.index} of this run"
        raise SettingsError(
            f"{what} was made at guidance 1: the network was asked about the prompt alone, and there is no "
            "other prediction to weigh it against."
        )
    whole = guidance.method == "perpendicular" and p.x0_third is not None
    if (whole or guidance.rescale or guidance.threshold) and _was_held(trace, step):
        raise SettingsError(
            "A part of the picture was kept in this run, so what its network said there is not stored; "
            "without cfg_rescale, dynamic_threshold and perpendicular guidance it is not needed."
        )


def _was_held(trace: Trace, step: Step) -> bool:
    """Whether this step's predictions were held to a picture where the mask keeps it.

    Not those of an inpainting model, which sees the mask, nor those made before the mask was given.
    """
    p, uncond = step.prediction, step.prediction.x0_uncond
    if trace.mask is None or uncond is None:
        return False
    mask = latent_mask(trace.mask, trace.settings.width // step.x.shape[-1])  # (1, 1, H, W)
    if bool((mask == 1).all()):
        return False
    kept = (mask == 0).expand_as(uncond)
    return torch.equal(p.x0_cond[kept], uncond[kept])
