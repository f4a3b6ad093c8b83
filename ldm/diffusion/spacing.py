"""Spacings: which noise levels a sampler visits, whatever number of steps is asked for.

A spacing picks timesteps of the schedule, fractions allowed, or lays noise levels between the schedule's
largest and its smallest.  To add one, write its formula in `spacing_formulas.py` and add a line to SPACINGS
and one to SPACING_NOTES.

Each gives exactly as many levels as asked for, all different.  Some of the originals round to whole
timesteps, where levels repeat or steps get lost.
"""

import reprlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import SettingsError, check_choice
from .schedule import NoiseSchedule
from .spacing_formulas import (
    AYS_SD1,
    AYS_SDXL,
    ays_sigmas,
    beta_timesteps,
    exponential_sigmas,
    karras_sigmas,
    kl_optimal_sigmas,
    leading_timesteps,
    linspace_timesteps,
    polyexponential_sigmas,
    quad_timesteps,
    sgm_uniform_timesteps,
    simple_timesteps,
    trailing_timesteps,
)

DEFAULT_RHO = {"karras": 7.0, "polyexponential": 1.0}  # the spacings that have a rho
RHO_LIMITS = (0.1, 100.0)
LEVEL_LIMITS = (1e-6, 1e6)  # of a list of noise levels: what is multiplied by them stays finite in float32
LEAST_FALL = 1e-4  # from one of them to the next
MAX_LEVELS = 1000  # of a list, as of steps

Spacing = Callable[[NoiseSchedule, int, float | None], list[float]]


def _at(
    timesteps: Callable[[int, int], Tensor], schedule: NoiseSchedule, steps: int, rho: float | None
) -> list[float]:
    """Levels of timesteps."""
    chosen: list[float] = timesteps(len(schedule), steps).tolist()
    return [schedule.sigma_at(t) for t in chosen]


def _between(
    levels: Callable[[float, float, int], list[float]],
    schedule: NoiseSchedule,
    steps: int,
    rho: float | None,
) -> list[float]:
    """Levels between the schedule's ends."""
    return levels(schedule.sigma_at(len(schedule) - 1), schedule.sigma_at(0), steps)


def _shaped(
    levels: Callable[[float, float, int, float], list[float]],
    default: float,
    schedule: NoiseSchedule,
    steps: int,
    rho: float | None,
) -> list[float]:
    """Levels between the schedule's ends, with a rho."""
    rho = default if rho is None else rho
    least, most = RHO_LIMITS
    if not least <= rho <= most:  # also refuses NaN
        raise SettingsError(f"rho must be between {least:g} and {most:g}, got {rho:g}.")
    sigmas = levels(schedule.sigma_at(len(schedule) - 1), schedule.sigma_at(0), steps, rho)
    if any(after >= before for before, after in pairwise(sigmas)):
        raise SettingsError(
            f"With rho {rho:g} some of {steps} noise levels are equal; take a rho nearer to {default:g}, "
            "or fewer steps."
        )
    return sigmas


def _listed(schedule: NoiseSchedule, steps: int, rho: float | None) -> list[float]:
    """Nothing to compute: `sampling_sigmas` was given no list."""
    raise SettingsError("The spacing 'custom' needs a list of noise levels.")


SPACINGS: dict[str, Spacing] = {
    "trailing": partial(_at, trailing_timesteps),
    "leading": partial(_at, leading_timesteps),
    "linspace": partial(_at, linspace_timesteps),
    "normal": partial(_at, linspace_timesteps),
    "simple": partial(_at, simple_timesteps),
    "sgm_uniform": partial(_at, sgm_uniform_timesteps),
    "karras": partial(_shaped, karras_sigmas, DEFAULT_RHO["karras"]),
    "exponential": partial(_between, exponential_sigmas),
    "polyexponential": partial(_shaped, polyexponential_sigmas, DEFAULT_RHO["polyexponential"]),
    "beta": partial(_at, beta_timesteps),
    "ays_sd1": partial(_between, partial(ays_sigmas, AYS_SD1)),
    "ays_sdxl": partial(_between, partial(ays_sigmas, AYS_SDXL)),
    "kl_optimal": partial(_between, kl_optimal_sigmas),
    "quad": partial(_at, quad_timesteps),
    "custom": _listed,
}

SPACING_NOTES: dict[str, str] = {
    "trailing": "equal strides from the noisiest timestep; good with few steps",
    "leading": "equal strides that stop short of the noisiest timestep, as Stable Diffusion's first programs",
    "linspace": "equal strides from the noisiest timestep to the cleanest, both included",
    "normal": "ComfyUI's name for linspace",
    "simple": "almost trailing: equal strides, rounded towards more noise",
    "sgm_uniform": "trailing without rounding to whole timesteps; for SDXL, Turbo and LCM",
    "karras": "many steps at little noise, for fine detail; rho moves them, 7 is usual",
    "exponential": "each step removes the same share of the noise",
    "polyexponential": "exponential, bent by rho: above 1 more steps at little noise, below 1 at much",
    "beta": "more steps at both ends, where composition and detail are decided, and fewer in between",
    "ays_sd1": "Align Your Steps: optimised for Stable Diffusion 1 in ten steps",
    "ays_sdxl": "Align Your Steps: optimised for Stable Diffusion XL in ten steps",
    "kl_optimal": "in theory the best for simple data; close to Align Your Steps, for any number of steps",
    "quad": "DDIM's second choice: starts at four fifths of the timesteps, many steps at little noise",
    "custom": "your own list of noise levels",
}


def _zero(schedule: NoiseSchedule) -> float:
    """No noise: the result is the last x0, as k-diffusion and most others end."""
    return 0.0


def _first_timestep(schedule: NoiseSchedule) -> float:
    """Noise of timestep 0: the result keeps a trace of noise, as CompVis and labml end."""
    return schedule.sigma_at(0)


FINAL_SIGMAS: dict[str, Callable[[NoiseSchedule], float]] = {
    "zero": _zero,
    "first_timestep": _first_timestep,
}


def sampling_sigmas(
    schedule: NoiseSchedule,
    steps: int,
    spacing: str = "trailing",
    final_sigma: str = "zero",
    *,
    rho: float | None = None,
    custom: Sequence[float] | None = None,
) -> Tensor:
    """The noise levels a sampler walks down.

    Args:
        spacing: a key of SPACINGS; "trailing" starts at the noisiest timestep.
        final_sigma: a key of FINAL_SIGMAS, where the last step ends.  Where the spacing itself visits
            timestep 0 (linspace always, others from some count on), a step to timestep 0 would stand still,
            so "first_timestep" ends at 0 as "zero" does.
        rho: of the spacings in DEFAULT_RHO, within RHO_LIMITS; None is the default there.  The others have
            no use for it and pass it by, as deterministic samplers do with eta.
        custom: the levels of the spacing "custom", falling, `steps` of them; one more where the last is 0,
            which is then where the last step ends.  With another spacing it is refused: whoever writes
            levels down means them, and a picture made with others would not say so.

    Returns:
        (steps + 1,) float64, strictly falling.  Always exactly `steps` steps.

    Raises:
        SettingsError: unknown spacing or final_sigma, a count the schedule does not have, a rho out of its
            limits, or a list that cannot be used.
    """
    check_choice("spacing", spacing, SPACINGS)
    check_choice("final_sigma", final_sigma, FINAL_SIGMAS)
    if custom is None:
        levels = _spaced(schedule, steps, spacing, rho)
    elif spacing == "custom":
        levels = _checked(custom, steps)
    else:
        raise SettingsError(f"A list of noise levels needs the spacing 'custom', got {spacing!r}.")
    last = 0.0 if custom and custom[-1] == 0 else FINAL_SIGMAS[final_sigma](schedule)
    return torch.tensor([*levels, last if last < levels[-1] else 0.0], dtype=torch.float64)


def _spaced(schedule: NoiseSchedule, steps: int, spacing: str, rho: float | None) -> list[float]:
    """The levels of a spacing without the end."""
    train = len(schedule)
    if not 1 <= steps <= train:
        raise SettingsError(
            f"steps must be between 1 and {train}, the model's training timesteps; got {steps}."
        )
    return SPACINGS[spacing](schedule, steps, rho)


def _checked(custom: Sequence[float], steps: int) -> list[float]:
    """A list of levels without a 0 at its end, if it can be used.

    Raises:
        SettingsError: something in it is no number or out of LEVEL_LIMITS, it does not fall, or it has
            another number of levels than `steps`.
    """
    levels = list(custom[:-1] if custom and custom[-1] == 0 else custom)
    if not levels:
        raise SettingsError("A list of noise levels needs at least one above 0.")
    if len(levels) > MAX_LEVELS:
        raise SettingsError(
            f"A list of noise levels may have at most {MAX_LEVELS} above 0, got {len(levels)}."
        )
    least, most = LEVEL_LIMITS
    for level in levels:
        is_number = isinstance(level, int | float) and not isinstance(level, bool)
        if not (is_number and least <= level <= most):  # also refuses NaN and infinity
            raise SettingsError(
                f"Noise levels must be numbers from {least:g} to {most:g}, the last may be 0; "
                f"got {reprlib.repr(level)}."
            )
    for before, after in pairwise(levels):
        if after >= before:
            raise SettingsError(f"Noise levels must fall, but {before:g} is followed by {after:g}.")
        if after > before * (1 - LEAST_FALL):  # samplers divide by the distance
            raise SettingsError(
                f"Noise levels must fall by {LEAST_FALL:.2%} or more, but {before:.10g} is followed "
                f"by {after:.10g}."
            )
    if len(levels) != steps:
        raise SettingsError(f"steps must be {len(levels)}, the number of noise levels above 0, got {steps}.")
    return [float(level) for level in levels]
