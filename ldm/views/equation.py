"""An equation of one step, with its numbers, and what they are multiplied with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from ..diffusion.denoiser import PREDICTION_TYPES, PredictionType, from_x0
from ..diffusion.noise import Noise, noise_of
from ..errors import SettingsError, check_choice
from ..settings import Settings
from ..trace import Step, Trace

REST = "rest"  # the key of what is left of the tensor when the other terms are taken away

_SUB = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SUPER = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_MARKS = {"x0": "", "x0_cond": "ᶜ", "x0_uncond": "ᵘ", "x0_third": "ᵗ", "output": ""}


@dataclass(frozen=True)
class Term:
    """A number times a tensor.

    Attributes:
        coefficient: in full precision.
        name: of the tensor, for people: "x0 of step 12".
        symbol: as the equation writes it: "x̂₀⁽¹²⁾".
        key: for `tensor_at`; REST is what the other terms leave, `Equation.tensor`.
    """

    coefficient: float
    name: str
    symbol: str
    key: str


@dataclass(frozen=True)
class Fresh:
    """Standard deviation of a step's fresh noise: by the formula, and as it is in the latents."""

    expected: float
    measured: float


@dataclass(frozen=True, eq=False)
class At:
    """One step of one picture of a run."""

    trace: Trace
    step: Step
    picture: int

    def tensor(self, key: str) -> Tensor:
        """(C, H, W) float64, `tensor_at`."""
        return tensor_at(self.trace, key, self.picture)

    def key(self, name: str) -> str:
        """Key of a tensor of this step."""
        return f"{name} {self.step.index}"

    @property
    def earlier(self) -> bool:
        """Whether another run made the step, with settings that this one does not keep."""
        return self.trace.parent is not None and self.step.index < self.trace.parent[1]


@dataclass(frozen=True, eq=False)
class Equation:
    """One line of a step's arithmetic.

    Attributes:
        title: what it is.
        symbols: as a teacher writes it.
        numbers: with this step's numbers, to four digits.
        terms: they sum to the tensor `target`.
        section: the heading of docs/math.md under which the formula stands.
        note: what else is to be said of it in this step; may be empty.
        target: key of the tensor on the left; "" where it is not stored, such as the network's input.
        fresh: where the step adds fresh noise.
        at: what it is of.
        where: (H, W) bool, the part of the picture where it holds; None is everywhere.
    """

    at: At = field(repr=False)
    title: str
    symbols: str
    numbers: str
    terms: tuple[Term, ...]
    section: str
    note: str = ""
    target: str = ""
    fresh: Fresh | None = None
    where: Tensor | None = field(default=None, repr=False)

    def tensor(self, term: Term) -> Tensor:
        """(C, H, W) float64 what a term's number is multiplied with."""
        if term.key != REST:
            return self.at.tensor(term.key)
        others = [t for t in self.terms if t is not term]
        return (self.at.tensor(self.target) - self._sum(others)) / term.coefficient

    @cached_property
    def error(self) -> float | None:
        """How far the sum of the terms is from the tensor that is stored, RMS, in units of unit variance.

        None where there is nothing to compare: the tensor is not stored, or one of the terms is what is left.
        """
        if not self.target or not self.terms or any(term.key == REST for term in self.terms):
            return None
        away = self._sum(self.terms) - self.at.tensor(self.target)
        if self.where is not None:
            away = away[:, self.where]
        return rms(away) / _scale(self.at.trace, self.target)

    def _sum(self, terms: Sequence[Term]) -> Tensor:
        total = torch.zeros_like(self.at.step.x[self.at.picture], dtype=torch.float64)
        for term in terms:
            total = total + term.coefficient * self.tensor(term)
        return total


def tensor_at(trace: Trace, key: str, picture: int = 0) -> Tensor:
    """(C, H, W) float64 one tensor of a run.

    Args:
        key: the name of a field of `Step` or `Prediction` and the number of the step, "x0 12"; or "eps 12" or
            "output 12", the noise and the network's output that its answers mean; or "noise 13", a draw of
            the run's noise, or "between 5.2 3.1", of its Brownian motion.

    Raises:
        SettingsError: the run has no such tensor.
    """
    name, _, rest = key.partition(" ")
    if name in ("noise", "between"):
        try:
            drawn = _noise_at(trace, name, rest)
        except ValueError as error:
            raise SettingsError(f"tensor must be a draw of the run's noise, got {key!r:.60}.") from error
        return drawn[picture].double()
    if not rest.isdecimal() or int(rest) >= len(trace.steps):
        raise SettingsError(f"tensor must be one of the run's steps, got {key!r:.60}.")
    step = trace.steps[int(rest)]
    if name == "output":
        return output_of(At(trace, step, picture), step.prediction.x0_cond[picture].double())
    holder = step if name in ("x", "x_next", "x_asked", "eps") else step.prediction
    found = getattr(holder, name, None)
    if not isinstance(found, Tensor):
        raise SettingsError(f"tensor must be one that the run has stored, got {key!r:.60}.")
    return found[picture].double()


def kind_of(trace: Trace) -> PredictionType:
    """What the run's network predicts."""
    check_choice("prediction_type", trace.prediction_type, PREDICTION_TYPES)
    return cast(PredictionType, trace.prediction_type)


def output_of(at: At, x0: Tensor) -> Tensor:
    """(C, H, W) the network's output that means x0 in this step."""
    x = asked_x(at.step)[at.picture].double()
    return from_x0(x, asked_sigma(at.step), x0, kind_of(at.trace))


def asked_sigma(step: Step) -> float:
    """The noise level that the network was asked about."""
    return step.sigma if step.sigma_asked is None else step.sigma_asked


def asked_x(step: Step) -> Tensor:
    """(B, C, H, W) the latents that it was asked about."""
    return step.x if step.x_asked is None else step.x_asked


def asked_key(step: Step) -> str:
    """Key of `asked_x`."""
    return f"{'x' if step.x_asked is None else 'x_asked'} {step.index}"


def redrawn(trace: Trace) -> bool:
    """Whether the run's noise can be drawn again: not that of one picture whose batch drew it together."""
    return bool(trace.steps) and len(trace.steps[0].x) == trace.settings.batch_size


def rms(x: Tensor) -> float:
    """Root of the mean square; 0 of nothing."""
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0


def term(key: str, coefficient: float) -> Term:
    """A term with the words for its tensor."""
    name, _, rest = key.partition(" ")
    if name == "noise":
        return Term(coefficient, f"fresh noise, draw {rest}", "z", key)
    if name == "between":
        return Term(coefficient, "fresh noise, of the run's Brownian motion", "z", key)
    k = int(rest) + 1  # for people, as on the page
    at = str(k).translate(_SUB)
    if name == "x":
        return Term(coefficient, f"noisy latents of step {k}", f"x{at}", key)
    if name == "x_asked":
        return Term(coefficient, f"latents that step {k} asked about", f"x̃{at}", key)
    if name == "eps":
        return Term(coefficient, f"noise predicted in step {k}", "ε̂", key)
    if name == "output":
        return Term(coefficient, f"the network's output in step {k}", "F", key)
    words = {
        "x0": "x0",
        "x0_cond": "x0 with the prompt",
        "x0_uncond": "x0 without the prompt",
        "x0_third": "third x0",
    }
    return Term(coefficient, f"{words[name]} of step {k}", "x̂₀" + _MARKS[name], key)


def dated(made: Term, current: int) -> Term:
    """The term with the number of its step in the symbol, where that is another step's x0."""
    name, _, rest = made.key.partition(" ")
    if name not in _MARKS or not rest.isdigit() or int(rest) == current:
        return made
    number = str(int(rest) + 1).translate(_SUPER)
    return Term(made.coefficient, made.name, f"{made.symbol}⁽{number}⁾", made.key)


def written(left: str, terms: Sequence[Term]) -> str:
    """The equation as text, coefficients to four digits: "x₁₄ = 0.8123 x₁₃ + 0.1877 x̂₀"."""
    text = ""
    for made in terms:
        value = number(abs(made.coefficient))
        factor = "" if value == "1" else value + " "
        sign = "−" if made.coefficient < 0 else "+"
        text += f" {sign} {factor}{made.symbol}" if text else f"{'−' * (sign == '−')}{factor}{made.symbol}"
    return f"{left} = {text or '0'}"


def number(value: float) -> str:
    """To four digits, as people write it: "1.2·10⁻⁵", "−0.25"."""
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    shown = mantissa.replace("-", "−")
    return f"{shown}·10{str(int(exponent)).translate(_SUPER)}" if exponent else shown


def latents_symbol(index: int) -> str:
    """The noisy latents that a step begins with, as equations write them; the first step is number 1."""
    return "x" + str(index + 1).translate(_SUB)


def _scale(trace: Trace, key: str) -> float:
    """What a tensor is divided by to have unit variance."""
    name, _, rest = key.partition(" ")
    if name not in ("x", "x_next", "x_asked"):
        return 1.0
    step = trace.steps[int(rest)]
    sigma = {"x": step.sigma, "x_next": step.sigma_next, "x_asked": asked_sigma(step)}[name]
    return math.sqrt(1 + sigma**2)


def _noise_at(trace: Trace, name: str, rest: str) -> Tensor:
    """(B, C, H, W) unit noise of the run.

    Raises:
        SettingsError: it cannot be drawn again.
    """
    if not redrawn(trace):
        raise SettingsError("The noise of this picture was drawn for a whole batch, which the run is not.")
    noise = _stream(trace.settings, tuple(trace.steps[0].x.shape[1:]))
    if name == "noise":
        return noise(int(rest))
    sigma, sigma_next = (float(level) for level in rest.split())
    return noise.between(sigma, sigma_next)


def _stream(settings: Settings, shape: tuple[int, ...]) -> Noise:
    return noise_of(
        settings.noise,
        settings.seed,
        settings.batch_size,
        shape,
        variation_seed=settings.variation_seed,
        variation_strength=settings.variation_strength,
    )
