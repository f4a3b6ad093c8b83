"""The noise levels of a run as it went, and what about them may surprise."""

import math
from itertools import pairwise

from ..trace import Step, Trace

COLUMNS = ("step", "sigma", "timestep", "snr", "log_snr", "alpha_bar", "signal")
LARGEST_SNR = 2.0**24  # given at sigma 0, where it is infinite
SIGNAL_LEFT = 0.005  # share of a picture's amplitude that is worth a warning


def schedule_columns(trace: Trace) -> dict[str, list[float]]:
    """Columns of equal length, one row per step.

    Returns:
        step: 0 is the first one made.
        sigma: noise level going in.
        timestep: what the network was told; may be a fraction, and the same in several steps.
        snr: signal-to-noise ratio `1 / sigma^2`, at most LARGEST_SNR.
        log_snr: its natural logarithm.
        alpha_bar: the signal's share of the variance, `1 / (1 + sigma^2)`.
        signal: its square root: how much of a picture's amplitude is left at that level.
    """
    rows = [_row(step) for step in trace.steps]
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def schedule_warnings(trace: Trace) -> list[str]:
    """One sentence for each thing about the noise levels that may surprise; steps count from 1."""
    found = [
        _first_level(trace),
        *_rises(trace),
        *_same_level(trace),
        *_same_timestep(trace),
        _last_level(trace),
    ]
    return [sentence for sentence in found if sentence]


def _row(step: Step) -> tuple[float, ...]:
    snr = min(LARGEST_SNR, 1 / max(step.sigma, LARGEST_SNR**-0.5) ** 2)
    alpha_bar = 1 / (1 + step.sigma**2)
    return float(step.index), step.sigma, step.timestep, snr, math.log(snr), alpha_bar, alpha_bar**0.5


def _upwards(trace: Trace) -> bool:
    """Whether the run goes from a picture to its noise."""
    return bool(trace.steps) and all(step.sigma_next > step.sigma for step in trace.steps)


def _first_level(trace: Trace) -> str:
    """Training never showed the network noise that holds no trace of a picture; a run from noise starts so.

    Source: Lin et al. 2023 (arXiv:2305.08891), section 2.
    """
    if not trace.steps or _upwards(trace) or (trace.init_image is not None and not trace.only_shown):
        return ""
    signal = (1 + trace.steps[0].sigma ** 2) ** -0.5
    if signal < SIGNAL_LEFT:
        return ""
    return (
        f"The first noise level still lets {100 * signal:.2g} % of a picture's amplitude through, and pure "
        "noise holds none: the network takes the noise's mean for a picture's, so results tend to medium "
        "brightness (no zero terminal SNR)."
    )


def _rises(trace: Trace) -> list[str]:
    if _upwards(trace):
        return ["The noise level rises at every step: this run goes from a picture to its noise."]
    return [
        f"Step {s.index + 1} ends by adding noise: from {s.sigma:.3g} it goes up to {s.sigma_next:.3g}."
        for s in trace.steps
        if s.sigma_next > s.sigma
    ]


def _same_level(trace: Trace) -> list[str]:
    return [
        f"Step {s.index + 1} ends at the noise level that it starts at, {s.sigma:.3g}: it changes nothing."
        for s in trace.steps
        if s.sigma_next == s.sigma
    ]


def _same_timestep(trace: Trace) -> list[str]:
    """Neighbours with another noise level, of which the network, or one of whole timesteps, is not told."""
    found = []
    for a, b in pairwise(trace.steps):
        if _asked(a) == _asked(b):
            continue
        if a.timestep == b.timestep:
            found.append(
                f"Steps {a.index + 1} and {b.index + 1} have noise levels {_asked(a):.3g} and "
                f"{_asked(b):.3g}, but the network is told the same timestep, {a.timestep:g}."
            )
        elif round(a.timestep) == round(b.timestep):
            found.append(
                f"Steps {a.index + 1} and {b.index + 1} are told timesteps {a.timestep:.3f} and "
                f"{b.timestep:.3f}: a program that rounds them would tell {round(a.timestep)} twice."
            )
    return found


def _asked(step: Step) -> float:
    return step.sigma if step.sigma_asked is None else step.sigma_asked


def _last_level(trace: Trace) -> str:
    if not trace.steps or not trace.finished or _upwards(trace):
        return ""
    sigma = trace.steps[-1].sigma_next
    if sigma == 0:
        return ""
    share = sigma / (1 + sigma**2) ** 0.5
    return (
        f"The run ends at noise level {sigma:.3g}, not at 0: {100 * share:.2g} % of its amplitude is noise."
    )
