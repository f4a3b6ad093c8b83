"""Where a run goes on when it is taken up: its own noise levels, or the rest of the way divided anew.

And what it keeps from there on, where only a part is to be painted.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.spacing import FINAL_SIGMAS
from ..errors import SettingsError
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step, Trace
from .asked import levels_of
from .shown import Picture
from .start import first_step, fitted, position, steps_of

# what the noise levels follow from
PLAN = ("steps", "sampler", "spacing", "final_sigma", "rho", "sigmas", "steps_per_level")


def check_fork(model: LatentDiffusion, trace: Trace, at: int, settings: Settings) -> None:
    """Raise SettingsError if the run cannot be taken up before step `at` with these settings."""
    if not trace.steps:
        raise SettingsError("The run made no step, so there is none to take it up at.")
    if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at <= len(trace.steps):
        raise SettingsError(f"at must be between 0 and {len(trace.steps)}, the steps made; got {at!r:.40}.")
    for name in ("width", "height", "batch_size"):
        old, new = getattr(trace.settings, name), getattr(settings, name)
        if new != old:
            raise SettingsError(f"{name} must stay {old} when a run is taken up again, got {new}.")
    if any(step.sigma == 0 for step in trace.steps):
        raise SettingsError("The run goes from a picture to its noise; start a run from its latents instead.")
    x, f = trace.steps[0].x, model.downsampling_factor
    expected = (settings.batch_size, model.latent_channels, settings.height // f, settings.width // f)
    if tuple(x.shape) != expected:
        raise SettingsError(
            f"The run's latents are of shape {tuple(x.shape)}; those of {model.name} are {expected}."
        )
    if not _latents(trace, at).isfinite().all():
        raise SettingsError(f"The latents before step {at} are not finite; take the run up earlier.")
    total = _total(trace, settings)
    if total <= at:
        raise SettingsError(
            f"steps must be more than {at + settings.steps - total}, the steps already made; "
            f"got {settings.steps}."
        )


def _latents(trace: Trace, at: int) -> Tensor:
    """(B, C, H, W) what goes into step `at`."""
    return trace.steps[at].x if at < len(trace.steps) else trace.steps[-1].x_next


def started_from_picture(trace: Trace) -> bool:
    """Whether the strength of the settings left out steps: not where a picture was given later, to keep."""
    if trace.init_image is None or trace.only_shown:
        return False
    if trace.sigmas is None:
        return True
    planned = sum(low <= high for high, low in pairwise(trace.sigmas))
    return planned < trace.settings.steps


def _total(trace: Trace, settings: Settings) -> int:
    """The steps of the whole run, at the strength it started with."""
    settings = replace(settings, strength=trace.settings.strength)
    return steps_of(settings, started_from_picture(trace))


def kept_picture(
    trace: Trace, settings: Settings, init_image: Image.Image | None = None, mask: Image.Image | None = None
) -> Picture | None:
    """What a run that is taken up starts from besides its latents, at its size; `finish` is given the same.

    Args:
        settings: of the run from there on.
        init_image: what is kept where the mask is black; None is the picture the run started from, else the
            one it made.
        mask: white is painted anew; None is the run's own.

    Returns:
        The run's own picture and mask where neither is given; None if it has none.

    Raises:
        SettingsError: there is no picture to keep, or nothing says which part of it.
    """
    if init_image is None and mask is None:
        if trace.init_image is None:
            return None
        return Picture(trace.init_image, trace.mask, trace.only_shown)
    if trace.only_shown:
        raise SettingsError(
            f"{trace.model_name} draws after a picture that is no start, so nothing of a picture can be kept."
        )
    mask = trace.mask if mask is None else mask
    if mask is None:
        raise SettingsError("A run that is taken up keeps a part of a picture: init_image needs a mask.")
    image = trace.init_image if init_image is None else init_image
    if image is None and len(trace.images) == 1:
        image = trace.images[0]
    if image is None:
        made = len(trace.images)
        raise SettingsError(
            f"A mask needs one picture to keep a part of, and the run has {made}: give an init_image."
        )
    return fitted(settings, image, mask)


def own_levels(
    model: LatentDiffusion, settings: Settings, steps: Sequence[Step], from_picture: bool
) -> Tensor | None:
    """The noise levels of a run from noise that was given a picture later; None where settings tell them.

    With the picture they would read as those of a run that started from it.
    """
    first = first_step(settings)
    if not from_picture or not steps or first == 0:
        return None
    whole = levels_of(model, settings)
    if float(whole[0]) != steps[0].sigma:
        return None
    # a level can stand several times, so that it does not tell which step it is
    skipped = [float(whole[position(whole, first + k)]) for k in range(len(steps))]
    return None if skipped == [step.sigma for step in steps] else whole


def way_on(model: LatentDiffusion, trace: Trace, at: int, settings: Settings) -> Tensor:
    """Noise levels of which step number `at` is the next.

    The run's own where nothing is changed that they follow from; else as many steps as the settings still
    ask for, evenly spaced in timesteps from this noise level down.  `finish` is given them as `sigmas`, so
    that the new run can be taken up again.

    Raises:
        SettingsError: there is no noise left here.
    """
    made = [step.sigma for step in trace.steps]
    here = made[at] if at < len(made) else trace.steps[-1].sigma_next
    if all(getattr(settings, name) == getattr(trace.settings, name) for name in PLAN):
        if trace.sigmas is None:
            whole = levels_of(model, settings)
            own = whole[position(whole, settings.steps - _total(trace, settings)) :]
        else:
            own = torch.tensor(trace.sigmas, dtype=torch.float64)
        if [float(own[position(own, k)]) for k in range(at, len(made))] == made[at:]:
            return own
        if trace.finished and at < len(made):
            return torch.tensor([*made, trace.steps[-1].sigma_next], dtype=torch.float64)
    levels = _divided(model, settings, here, _total(trace, settings) - at, at)
    # of steps made only the number is looked at, but a rise would be taken for a restart
    above = made[:at]
    if any(high >= low for low, high in zip(above, [*above[1:], here], strict=False)):
        above = [here * (1 + at - k) for k in range(at)]
    return torch.tensor([*above, *levels], dtype=torch.float64)


def _divided(model: LatentDiffusion, settings: Settings, here: float, remaining: int, at: int) -> list[float]:
    """`remaining` levels from `here` down, and where the last step ends."""
    schedule = model.schedule
    last = FINAL_SIGMAS[settings.final_sigma](schedule)
    if here <= last:
        raise SettingsError(f"There is no noise left to remove after step {at}.")
    t = schedule.timestep(here)
    if t > 0 and here <= schedule.sigma_at(len(schedule) - 1):
        below = [schedule.sigma_at(t * (1 - k / remaining)) for k in range(1, remaining)]
    else:  # beyond the schedule's ends there are no timesteps to be even in
        low = max(last, min(here, schedule.sigma_at(0)) / 100)
        below = [here * (low / here) ** (k / remaining) for k in range(1, remaining)]
    return [here, *below, last]
