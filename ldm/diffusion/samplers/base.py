"""What every sampler is made of: the question it asks, the way it walks, the step it takes.

A sampler is a generator function.  It asks the denoiser for the clean picture, moves to the next noise level,
and yields what happened.  Stopping is just not asking for more; going on is calling it again with the steps
made so far: a sampler keeps nothing that does not follow from its arguments, so a run taken up at step k
gives the same bits.  All of them work at unit signal, x = x0 + sigma * eps.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Protocol

from torch import Tensor

from ...trace import Prediction, Step
from ..noise import Noise

BLIND = 1000.0  # noise levels above this are a zero-terminal-SNR schedule's stand-in for infinity


class Denoise(Protocol):
    """What a sampler asks: usually a `Denoiser`, in tests a formula."""

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """Predict the clean latents in x, whose noise level is sigma > 0."""
        ...

    def timestep(self, sigma: float) -> float:
        """What the network is told at this noise level."""
        ...

    def sigma_at(self, t: float) -> float:
        """Noise level of a timestep, the inverse of `timestep`."""
        ...


@dataclass(frozen=True)
class SamplerOptions:
    """What a sampler can be told besides the noise levels; each uses the fields it names.

    Attributes:
        eta: share of fresh noise per step, 0 to 1.
        s_churn: noise stirred in before each step, in units of sigma over the whole run; 0 is none.
        s_tmin, s_tmax: noise levels between which it is stirred in.
        s_noise: standard deviation of all fresh noise; 1 is right, a little more keeps detail.
        order: of the samplers that have several; None is the sampler's own.
        step_lr: of annealed Langevin, the step at the last noise level; None is 0.2 times its square.
        steps_per_level: of annealed Langevin.
    """

    eta: float = 0.0
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = inf
    s_noise: float = 1.0
    order: int | None = None
    step_lr: float | None = None
    steps_per_level: int = 5


@dataclass(frozen=True, eq=False)
class Given:
    """What a sampler is given, and all that it may go by.

    Attributes:
        denoise: what it asks.
        x: (B, C, H, W) latents going into step len(history), x0 + sigma * eps.
        sigmas: (steps + 1,) noise levels, falling; rising from above 0, the deterministic samplers run the
            other way, from latents to the noise that gives them.
        options: what it can be told.
        noise: draw k + 1 is used in step k.
        history: the steps made so far; the first one yielded is number len(history).
    """

    denoise: Denoise
    x: Tensor
    sigmas: Tensor
    options: SamplerOptions
    noise: Noise
    history: Sequence[Step] = ()


Sampler = Callable[[Given], Iterator[Step]]


@dataclass(frozen=True, eq=False)
class Here:
    """Where a sampler stands when the network has answered.

    Attributes:
        index: number of the step.
        sigma, x: noise level and (B, C, H, W) latents that the network was asked about.
        sigma_next: where to go.
        prediction: the answer.
        before: the steps before this one that `unbroken` leaves, the latest last; at most as many as the
            sampler asked to be kept.
    """

    index: int
    sigma: float
    sigma_next: float
    x: Tensor
    prediction: Prediction
    before: Sequence[Step] = ()

    @property
    def x0(self) -> Tensor:
        """(B, C, H, W) the clean latents predicted."""
        return self.prediction.x0

    @property
    def eps(self) -> Tensor:
        """(B, C, H, W) the noise that matches them."""
        return (self.x - self.x0) / self.sigma


Advance = Callable[[Here], Tensor]  # x_next
Stir = Callable[[int, float, Tensor], tuple[float, Tensor]]  # (index, sigma, x) -> (sigma, x) to ask about


def walk(given: Given, advance: Advance, *, remember: int = 0, stir: Stir | None = None) -> Iterator[Step]:
    """Go down the noise levels: ask, advance, yield.

    Args:
        advance: from where the sampler stands to the next latents.
        remember: how many steps `advance` looks back.
        stir: changes what the network is asked about.
    """
    denoise, x, history, levels = given.denoise, given.x, given.history, given.sigmas.tolist()
    before: deque[Step] = deque(history[len(history) - min(remember, len(history)) :], maxlen=remember)
    for index in range(len(history), len(levels) - 1):
        sigma, sigma_next = levels[index : index + 2]
        sigma_asked, x_asked = (sigma, x) if stir is None else stir(index, sigma, x)
        prediction = denoise(x_asked, sigma_asked)
        usable = unbroken(before, sigma, sigma_next)
        x_next = advance(Here(index, sigma_asked, sigma_next, x_asked, prediction, usable))
        step = Step(
            index,
            sigma,
            sigma_next,
            denoise.timestep(sigma_asked),
            x,
            prediction,
            x_next,
            *((sigma_asked, x_asked) if sigma_asked != sigma else ()),
        )
        before.append(step)
        yield step
        x = x_next


def unbroken(before: Sequence[Step], sigma: float, sigma_next: float) -> tuple[Step, ...]:
    """The last steps of `before` that led to sigma in one direction, that of the step to sigma_next.

    All of them in a plain run.  None where noise was added in between, or the level stayed: what the network
    said there is no earlier point of this curve.
    """
    found: list[Step] = []
    for step in reversed(before):
        if step.sigma_next != sigma or (step.sigma - sigma) * (sigma - sigma_next) <= 0:
            break
        found.append(step)
        sigma, sigma_next = step.sigma, sigma
    return tuple(reversed(found))


def eps_of(step: Step, like: Tensor) -> Tensor:
    """(B, C, H, W) `step.eps`, divided where `like` is: a GPU's last bit is another than the CPU's."""
    x = (step.x if step.x_asked is None else step.x_asked).to(like)
    sigma = step.sigma if step.sigma_asked is None else step.sigma_asked
    return (x - step.prediction.x0.to(like)) / sigma


def toward(x: Tensor, x0: Tensor, ratio: float) -> Tensor:
    """x0 + ratio * (x - x0): `ratio` of the noise stays.  With ratio 0 it is x0 to the last bit."""
    return x0 + ratio * (x - x0)


def move(here: Here, x0: Tensor, ratio: float) -> Tensor:
    """`toward` from where the sampler stands; with CFG++ it is the unguided noise of which `ratio` stays."""
    x_next = toward(here.x, x0, ratio)
    prediction = here.prediction
    anchor = prediction.anchor
    return x_next if anchor is prediction.x0 else x_next + ratio * (prediction.x0 - anchor)


def is_euler(here: Here) -> bool:
    """Whether a method of slopes in sigma can only make Euler's step from here.

    There is no slope at sigma 0.  And a step from what stands for infinite noise is some thousand times as
    long as the level it ends at, by which a difference of two slopes would be multiplied: Heun's method makes
    mud of the default model's pictures there, Euler's is what all of them come to with more steps.
    """
    return here.sigma_next == 0 or here.sigma > BLIND


def euler_step(here: Here) -> Tensor:
    """Euler's step on the probability-flow ODE, dx/dsigma = eps; to sigma 0 it is x0."""
    return move(here, here.x0, here.sigma_next / here.sigma)


def ancestral_step(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Divide the next noise level into what is kept and what is drawn fresh.

        sigma_up = eta * sigma_next * sqrt(1 - (sigma_next / sigma)**2)

    Args:
        eta: 0 draws nothing; 1 is DDPM's posterior, with its smaller variance.

    Returns:
        (sigma_down, sigma_up) with sigma_down**2 + sigma_up**2 == sigma_next**2.

    Source: DDIM (arXiv:2010.02502) eq. 16 divided by sqrt(alphas_cumprod); the same as k-diffusion's
    `get_ancestral_step`.
    """
    ratio = sigma_next / sigma
    sigma_up = min(eta * sigma_next * sqrt(max(1 - ratio**2, 0.0)), sigma_next)
    # sigma_next**2 - sigma_up**2 with nothing left to cancel
    return sigma_next * sqrt(max(1 - eta**2 + (eta * ratio) ** 2, 0.0)), sigma_up


def freshened(given: Given, x: Tensor, amount: float, index: int) -> Tensor:
    """(B, C, H, W) latents with `amount` of the noise of step `index` on top."""
    if amount == 0:
        return x
    return x + (given.options.s_noise * amount) * given.noise(index + 1).to(x)


def churn(given: Given) -> Stir | None:
    """How noise is stirred in before each step, at most (sqrt(2) - 1) * sigma; None where there is none.

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 2, lines 4 to 6.
    """
    options = given.options
    if options.s_churn == 0:
        return None
    gamma = min(options.s_churn / (len(given.sigmas) - 1), sqrt(2) - 1)

    def stir(index: int, sigma: float, x: Tensor) -> tuple[float, Tensor]:
        if not options.s_tmin <= sigma <= options.s_tmax:
            return sigma, x
        sigma_hat = sigma * (1 + gamma)
        return sigma_hat, freshened(given, x, sqrt(sigma_hat**2 - sigma**2), index)

    return stir
