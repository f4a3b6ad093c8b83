"""What a sampler makes of stored latents, as a list of coefficients.

The sampler's own code is run on names in place of tensors: every step is sums of latents times numbers, so
what comes out is which number each of them is multiplied with.  No formula is written a second time here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import cast, overload

import torch
from torch import Tensor

from ..diffusion import from_settings
from ..diffusion.inversion import uphill
from ..diffusion.samplers import SAMPLERS, Given, SamplerOptions
from ..diffusion.samplers.base import Here, unbroken
from ..diffusion.samplers.restart import again, restart, stretches
from ..diffusion.samplers.unipc import corrected_by, predicted_from
from ..diffusion.schedule import NoiseSchedule
from ..settings import Settings
from ..trace import Prediction, Step, Trace
from .combination import Combination, named, parts_of


@dataclass(frozen=True)
class Update:
    """How a step's `x_next` is made.

    Attributes:
        parts: key of a tensor (`equation.tensor_at`) -> coefficient.  What is not stored is called "middle k"
            for the network's k-th further answer.
        asked: noise levels the network was asked about, the stored answer's first.
    """

    parts: dict[str, float]
    asked: tuple[float, ...]

    @property
    def middle(self) -> list[str]:
        """Keys of the answers that are not stored."""
        return [key for key in self.parts if key.startswith("middle ")]

    @property
    def noise(self) -> list[str]:
        """Keys of the fresh noise."""
        return [key for key in self.parts if key.startswith(("noise ", "between "))]


def update(trace: Trace, index: int, schedule: NoiseSchedule | None = None) -> Update | None:
    """How step `index` came about; None where the run does not tell.

    Which is so of steps before the one that it was taken up at, whose settings are another run's; of TCD
    without the model's schedule; and of a few steps near the end of a run that was stopped before it.

    Args:
        schedule: the model's; only TCD needs it.
    """
    step = trace.steps[index]
    if trace.parent is not None and index < trace.parent[1]:
        return None
    if is_noising(step):
        return Update({f"x {index}": 1.0, f"eps {index}": step.sigma_next - step.sigma}, ())
    if goes_up(step):
        x = uphill(
            named(f"x {index}"), named(f"x_asked {index}"), named(f"x0 {index}"), step.sigma, step.sigma_next
        )
        return Update(parts_of(x), (step.sigma_next,))
    name = trace.settings.sampler
    if name not in SAMPLERS or step.sigma <= 0:
        return None
    try:
        return {"unipc": _unipc, "restart": _restart}.get(name, _walked)(trace, index, schedule)
    except _UnknownError:
        return None


def calls(trace: Trace) -> list[int]:
    """How often the network was asked in each step, guidance's predictions together counting as once.

    Where the run does not tell (`update`), as often as its sampler asks in most steps.
    """
    usual = SAMPLERS[trace.settings.sampler].calls if trace.settings.sampler in SAMPLERS else 1
    found = (update(trace, index) for index in range(len(trace.steps)))
    return [usual if made is None else len(made.asked) for made in found]


def goes_up(step: Step) -> bool:
    """Whether it is one from a picture to its noise: asked about latents at the level it ends at."""
    return step.sigma_next > step.sigma and step.sigma_asked == step.sigma_next


def is_noising(step: Step) -> bool:
    """Whether it only adds noise to a picture, with no network: what it "asked about" is where it ends."""
    return goes_up(step) and step.x_asked is not None and torch.equal(step.x_asked, step.x_next)


def options_of(settings: Settings) -> SamplerOptions:
    """What the sampler was told; noise stirred in (s_churn) is stored, and not part of the step here."""
    return replace(from_settings.options_of(settings), s_churn=0.0)


def planned(trace: Trace) -> int | None:
    """How many steps the run was to make; None where it was stopped and does not tell."""
    if trace.finished:
        return len(trace.steps)
    if trace.sigmas is not None:
        return len(trace.sigmas) - 1
    return None if trace.init_image is not None and trace.settings.strength < 1 else trace.settings.steps


class _UnknownError(Exception):
    """The run does not tell what its sampler went by."""


class _Asker:
    """In the network's place: the answer that is stored, then names for those that are not."""

    def __init__(self, answer: Prediction, schedule: NoiseSchedule | None) -> None:
        self.answer, self.schedule = answer, schedule
        self.asked: list[float] = []

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        self.asked.append(sigma)
        if len(self.asked) == 1:
            return self.answer
        further = named(f"middle {len(self.asked) - 1}")
        return Prediction(further, further)

    def timestep(self, sigma: float) -> float:
        return nan if self.schedule is None else self.schedule.timestep(sigma)

    def sigma_at(self, t: float) -> float:
        if self.schedule is None:
            raise _UnknownError
        return self.schedule.sigma_at(t)


@dataclass(frozen=True)
class _Noise:
    """Names of the noise's draws, counted from step `first` on."""

    first: int = 0

    def __call__(self, draw: int) -> Tensor:
        return named(f"noise {self.first + draw}")

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        return named(f"between {sigma!r} {sigma_next!r}")


def _answer(step: Step) -> Prediction:
    k, p = step.index, step.prediction
    uncond = None if p.x0_uncond is None else named(f"x0_uncond {k}")
    return Prediction(named(f"x0 {k}"), named(f"x0_cond {k}"), uncond, keeps_uncond=p.keeps_uncond)


def _step(step: Step) -> Step:
    """The step with names for its tensors."""
    k = step.index
    return Step(
        k, step.sigma, step.sigma_next, step.timestep, named(f"x {k}"), _answer(step), named(f"x_next {k}")
    )


class _History(Sequence[Step]):
    """The steps before one, named when they are looked at: most samplers look at none, or at the last."""

    def __init__(self, trace: Trace, end: int) -> None:
        self.steps, self.end = trace.steps, end

    def __len__(self) -> int:
        return self.end

    @overload
    def __getitem__(self, index: int) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...

    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        if isinstance(index, slice):
            return [_step(self.steps[k]) for k in range(*index.indices(self.end))]
        return _step(self.steps[range(self.end)[index]])


def _made(steps: Iterator[Step], asker: _Asker) -> Update:
    step = next(steps)
    return Update(parts_of(step.x_next), tuple(asker.asked))


def _walked(trace: Trace, index: int, schedule: NoiseSchedule | None) -> Update:
    """By running the sampler's one step, with the steps before it as its history."""
    step, settings = trace.steps[index], trace.settings
    sigma, key = (step.sigma, "x") if step.sigma_asked is None else (step.sigma_asked, "x_asked")
    asker = _Asker(_answer(step), schedule)
    given = Given(
        asker,
        named(f"{key} {index}"),
        _levels(trace, index, sigma),
        options_of(settings),
        _Noise(),
        _History(trace, index),
    )
    return _made(SAMPLERS[settings.sampler].sampler(given), asker)


def _levels(trace: Trace, index: int, sigma: float) -> Tensor:
    """(steps + 1,) noise levels: those of the steps that were made, and as many as were planned."""
    steps, total, settings = trace.steps, planned(trace), trace.settings
    if trace.sigmas is not None:
        after = list(trace.sigmas[index + 2 :])
    else:
        after = [s.sigma_next for s in steps[index + 1 :]]
    levels = [*(s.sigma for s in steps[:index]), sigma, steps[index].sigma_next, *after]
    if total is None and settings.sampler == "dpm_fast":  # which order a step has goes by how many follow
        raise _UnknownError
    missing = 0 if total is None else total + 1 - len(levels)
    ends = not missing or trace.sigmas is not None
    if settings.sampler == "langevin" and settings.step_lr is not None and not ends:
        raise _UnknownError  # a step goes by the last level of all
    return torch.tensor([*levels, *levels[-1:] * max(missing, 0)], dtype=torch.float64)


def _unipc(trace: Trace, index: int, schedule: NoiseSchedule | None) -> Update:
    """UniPC goes on from corrected latents, which are not stored: they are put in terms of those that are."""
    first = 0 if trace.parent is None else trace.parent[1]
    order, total = trace.settings.order or 2, planned(trace)
    if total is None:
        raise _UnknownError
    if index == 0:
        return _walked(trace, index, schedule)
    if index == first:  # whether there was a prediction to correct is known to the run it was taken up from
        raise _UnknownError
    before, here = (_here(trace, k, order) for k in (index - 1, index))
    left = min(order, total - index)
    predicted = cast(Combination, predicted_from(before, named("corrected"), min(order, left + 1)))
    corrected = cast(Combination, corrected_by(here, named("corrected"), total, order))
    share = corrected.parts.get("corrected", 0.0) / predicted.parts["corrected"]
    stored = corrected + share * (cast(Combination, here.x) - predicted)
    return Update(parts_of(predicted_from(here, cast(Tensor, stored), left)), (here.sigma,))


def _here(trace: Trace, index: int, order: int) -> Here:
    step = trace.steps[index]
    made = [_step(s) for s in trace.steps[max(0, index - order - 1) : index]]
    before = unbroken(made, step.sigma, step.sigma_next)
    return Here(index, step.sigma, step.sigma_next, named(f"x {index}"), _answer(step), before)


def _restart(trace: Trace, index: int, schedule: NoiseSchedule | None) -> Update:
    """Each step by itself: nothing is remembered."""
    step, asker = trace.steps[index], _Asker(_answer(trace.steps[index]), schedule)
    levels: Sequence[float] = (step.sigma, step.sigma_next)
    if step.sigma_next > step.sigma:
        levels = (step.sigma, _lowest(trace, index), step.sigma_next)
    sigmas = torch.tensor(levels, dtype=torch.float64)
    x, options = named(f"x {index}"), options_of(trace.settings)
    return _made(restart(Given(asker, x, sigmas, options, _Noise(index))), asker)


def _lowest(trace: Trace, index: int) -> float:
    """The noise level from which the step's last noise is added: where later steps come down to again."""
    if trace.sigmas is not None:
        return stretches(trace.sigmas)[index][1]
    steps, length = trace.steps, again(trace.settings.steps)[1]
    below = _first_fall(steps[index + length :: length])
    if below is None:
        raise _UnknownError
    return below.sigma_next


def _first_fall(steps: Iterable[Step]) -> Step | None:
    return next((step for step in steps if step.sigma_next < step.sigma), None)
