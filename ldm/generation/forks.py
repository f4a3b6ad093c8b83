"""Where a run goes on when it is taken up: its own noise levels, or the rest of the way divided anew."""

from dataclasses import replace

import torch
from torch import Tensor

from ..diffusion.spacing import FINAL_SIGMAS
from ..errors import SettingsError
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Trace
from .asked import levels_of
from .start import position, steps_of

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


def _total(trace: Trace, settings: Settings) -> int:
    """The steps of the whole run, at the strength it started with."""
    return steps_of(replace(settings, strength=trace.settings.strength), trace.init_image is not None)


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
