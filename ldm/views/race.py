"""Several ways down from the same noise, side by side: how near to a fine run each is, and at what cost."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate

import torch
from torch import Tensor

from ..errors import SettingsError, check_choice
from ..settings import Settings
from ..trace import Step, Trace
from .equation import rms
from .predictions import check_picture
from .updates import calls, goes_up

# what runs of one race may differ in: how they walk, not what they walk towards
MAY_DIFFER = frozenset(
    (
        "steps",
        "sampler",
        "spacing",
        "final_sigma",
        "rho",
        "sigmas",
        "eta",
        "s_churn",
        "s_tmin",
        "s_tmax",
        "s_noise",
        "order",
        "step_lr",
        "steps_per_level",
    )
)
BY = ("calls", "sigma")

Row = tuple[int | None, ...]


@dataclass(frozen=True)
class Runner:
    """One run of a race; lists have one number per step.

    Attributes:
        sampler, spacing: keys of their registries.
        calls: of the network, after the step and those before it; guidance's predictions together are one.
        sigma, sigma_next: noise level before and after.
        x0_distance: of the step's x0 from the latents that the reference ended with.
        x_distance: of what the step leaves from the reference at the same noise level, at unit variance.
        final_distance: of what the run ends with: the last `x_distance`; None if it was stopped.
    """

    sampler: str
    spacing: str
    calls: tuple[int, ...]
    sigma: tuple[float, ...]
    sigma_next: tuple[float, ...]
    x0_distance: tuple[float, ...]
    x_distance: tuple[float, ...]
    final_distance: float | None


@dataclass(frozen=True)
class Race:
    """Runs in the order they were given, and the one they are measured against."""

    runs: tuple[Runner, ...]
    reference: Runner


def race(traces: Sequence[Trace], reference: Trace, picture: int = 0) -> Race:
    """Measure runs that start from the same noise against a fine one, by RMS over a picture's latents.

    The reference lies between two of its noise levels on the straight line in sigma that joins its latents
    there, at unit signal.  That is what the equation `dx / dsigma = eps` does where the predicted noise does
    not change, from infinite noise to none; log(sigma) has no place for the last level, 0.  Above its first
    level it is its first latents, at unit variance.  What the line cuts off is less than the distance that is
    measured as long as the reference has many times the steps.

    Args:
        reference: a run with many steps of a sampler without fresh noise; it is finished.
        picture: which one of the batch, of all of them.

    Raises:
        SettingsError: two runs are not of the same noise, words and model; or one is no plain run down.
    """
    for trace in (reference, *traces):
        _check_run(trace)
        check_picture(trace, picture)
    if not reference.finished:
        raise SettingsError("The run that others are measured against was stopped before its end.")
    for trace in traces:
        _check_same(trace, reference)
    track = _Track(reference, picture)
    return Race(tuple(_runner(trace, track) for trace in traces), _runner(reference, track))


def aligned(traces: Sequence[Trace], by: str = "calls") -> list[Row]:
    """Which steps of several runs stand beside each other, one number of a step for each run in every row.

    Args:
        by: "calls": a row for every number of network calls after which one of the runs had made a step;
            each run shows the last step it had made by then, None before its first.  "sigma": a row for every
            noise level that one of the runs came to, the noisiest first; each run shows the step that ended
            nearest to it, the latest of several.

    Raises:
        SettingsError: `by` is neither, or a run has no steps.
    """
    check_choice("alignment", by, BY)
    for trace in traces:
        _check_run(trace)
    if by == "calls":
        counts = [list(accumulate(calls(trace))) for trace in traces]
        rows = sorted({count for own in counts for count in own})
        return [tuple(_made_by(own, row) for own in counts) for row in rows]
    levels = [[_angle(step.sigma_next) for step in trace.steps] for trace in traces]
    found = sorted({level for own in levels for level in own}, reverse=True)
    return [tuple(_nearest(own, level) for own in levels) for level in found]


def _made_by(counts: Sequence[int], row: int) -> int | None:
    made = sum(count <= row for count in counts)
    return made - 1 if made else None


def _nearest(levels: Sequence[float], level: float) -> int:
    return min(range(len(levels)), key=lambda k: (abs(levels[k] - level), -k))


def _angle(sigma: float) -> float:
    """Noise level as an angle between picture, 0, and noise, pi / 2: near where pictures look alike."""
    return math.atan(sigma)


class _Track:
    """Where the reference passes."""

    def __init__(self, reference: Trace, picture: int) -> None:
        self.picture = picture
        points = {step.sigma: step.x[picture].double() for step in reference.steps}
        last = reference.steps[-1]
        points[last.sigma_next] = last.x_next[picture].double()
        self.levels = sorted(points)
        self.latents = [points[level] for level in self.levels]
        self.final = self.latents[0]

    def at(self, sigma: float) -> Tensor:
        """(C, H, W) float64 at unit variance."""
        high = bisect_left(self.levels, sigma)
        if high == len(self.levels):  # above the first level there is the same noise
            return self.latents[-1] / math.hypot(1, self.levels[-1])
        if high == 0 or self.levels[high] == sigma:
            return self.latents[high] / math.hypot(1, self.levels[high])
        low, top = self.levels[high - 1], self.levels[high]
        share = (sigma - low) / (top - low)
        x = self.latents[high - 1] + share * (self.latents[high] - self.latents[high - 1])
        return x / math.hypot(1, sigma)


def _runner(trace: Trace, track: _Track) -> Runner:
    steps, picture = trace.steps, track.picture
    away = tuple(_x_distance(step, track) for step in steps)
    return Runner(
        trace.settings.sampler,
        trace.settings.spacing,
        tuple(accumulate(calls(trace))),
        tuple(step.sigma for step in steps),
        tuple(step.sigma_next for step in steps),
        tuple(rms(step.prediction.x0[picture].double() - track.final) for step in steps),
        away,
        away[-1] if trace.finished else None,
    )


def _x_distance(step: Step, track: _Track) -> float:
    x = step.x_next[track.picture].double() / math.hypot(1, step.sigma_next)
    return rms(x - track.at(step.sigma_next))


def _check_run(trace: Trace) -> None:
    if not trace.steps:
        raise SettingsError("A run without a step cannot be in a race.")
    if any(goes_up(step) for step in trace.steps):
        raise SettingsError("A run from a picture to its noise cannot be in a race: it goes the other way.")
    if trace.parent is not None and trace.parent[1] > 0:
        raise SettingsError(
            f"A run that was taken up at step {trace.parent[1]} of another cannot be in a race: its first "
            "steps are another sampler's."
        )


def _check_same(trace: Trace, reference: Trace) -> None:
    """Refuse a run that starts or ends elsewhere whatever its sampler.

    Raises:
        SettingsError: naming the first difference.
    """
    ours, theirs = trace.settings, reference.settings
    for field in fields(Settings):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name not in MAY_DIFFER and a != b:
            raise SettingsError(
                f"Runs of one race must have the same {field.name}: {a!r:.60} is not the reference's "
                f"{b!r:.60}."
            )
    for name, what in (("model_name", "model"), ("init_image", "picture to start from"), ("mask", "mask")):
        if getattr(trace, name) != getattr(reference, name):
            raise SettingsError(f"Runs of one race must have the same {what}, and two have not.")
    shape, expected = tuple(trace.steps[0].x.shape), tuple(reference.steps[0].x.shape)
    if shape != expected:
        raise SettingsError(
            f"Runs of one race must have latents of one shape: {shape} is not the reference's {expected}."
        )
    start, other = (
        t.steps[0].x / math.hypot(1, t.steps[0].sigma) for t in (trace, reference)
    )  # (B, C, H, W) the noise, at unit variance
    if trace.init_image is None and not torch.allclose(start, other, rtol=0, atol=1e-4):
        raise SettingsError("Runs of one race must start from the same noise, and two do not.")
