"""Every step of a run as arithmetic: the update with its own numbers, to stand beside the pixels.

What is said here can be checked: the terms name tensors of the run, and their sum is the tensor on the left.
"""

import math

from ..diffusion.denoiser import to_x0
from ..diffusion.schedule import NoiseSchedule
from ..trace import Trace
from .combination import named, parts_of
from .equation import (
    REST,
    At,
    Equation,
    Fresh,
    Term,
    asked_key,
    asked_sigma,
    kind_of,
    number,
    redrawn,
    rms,
    tensor_at,
    term,
    written,
)
from .guidance_equation import guidance_equation
from .predictions import check_picture, check_step
from .step_equation import SCALES, step_equation
from .updates import goes_up, is_noising

__all__ = ["Equation", "Fresh", "Term", "equations", "tensor_at"]

DENOISER = "The denoiser: `ldm/diffusion/denoiser.py`"
CHURN = "Fresh noise"

ASKED = {1: "with the prompt alone", 2: "with the prompt and without", 3: "with three conditions"}

ANSWERS = {
    "eps": "x̂₀ = x − σ F,  the network says the noise",
    "v": "x̂₀ = x / (1 + σ²) − F σ / √(1 + σ²),  the network says v",
    "x0": "x̂₀ = F,  the network says the clean picture",
}


def equations(
    trace: Trace, step: int, picture: int = 0, *, schedule: NoiseSchedule | None = None
) -> list[Equation]:
    """What one step computed, in order, for one picture.

    In steps before `trace.parent[1]`, which another run made with settings that this one does not keep, the
    sampler's step is given in a form that holds for every sampler, and guidance with the scale that is
    measured where this run's is not theirs.

    Args:
        step: its index.
        picture: which one of the batch.
        schedule: the model's.  TCD's step cannot be told without it, and a scale that changes on the way is
            taken to do so over 1000 timesteps.

    Raises:
        SettingsError: the run has no such step, the batch no such picture.
    """
    made = check_step(trace, step)
    check_picture(trace, picture)
    at = At(trace, made, picture)
    if is_noising(made):
        return [_identity(at), step_equation(at, schedule)]
    return [
        *([_stirred(at)] if made.x_asked is not None and not goes_up(made) else []),
        _asked(at),
        _answer(at),
        guidance_equation(at, schedule),
        _identity(at),
        step_equation(at, schedule),
    ]


def _stirred(at: At) -> Equation:
    """Churn: more noise before the network is asked."""
    step, sigma = at.step, asked_sigma(at.step)
    amount = at.trace.settings.s_noise * math.sqrt(sigma**2 - step.sigma**2)
    fresh = Fresh(amount, rms(at.tensor(at.key("x_asked")) - at.tensor(at.key("x"))))
    draw = term(f"noise {step.index + 1}", amount)
    if at.earlier or not redrawn(at.trace):
        draw = Term(amount, "fresh noise", "z", REST)
    terms = (term(at.key("x"), 1.0), draw)
    note = (
        f"σ goes up from {number(step.sigma)} to {number(sigma)}; z is fresh noise, {number(amount)} of it "
        f"by the formula, {number(fresh.measured)} in the latents that are stored."
    )
    text = written(term(at.key("x_asked"), 1.0).symbol, terms)
    symbols = "x̃ = x + √(σ̃² − σ²) z"
    key = at.key("x_asked")
    return Equation(at, "Noise stirred in first", symbols, text, terms, CHURN, note, key, fresh)


def _asked(at: At) -> Equation:
    """What the network saw, which is not stored: the latents at unit variance."""
    sigma, p = asked_sigma(at.step), at.step.prediction
    scale = 1 / math.sqrt(1 + sigma**2)
    times = 1 + sum(x0 is not None for x0 in (p.x0_uncond, p.x0_third))
    note = (
        f"At timestep {number(at.step.timestep)}, σ = {number(sigma)}, where {number(100 * scale)} % of a "
        f"picture's amplitude is left; {ASKED[times]}."
    )
    terms = (term(asked_key(at.step), scale),)
    text = written("input", terms)
    return Equation(at, "What the network was asked", "input = x / √(1 + σ²)", text, terms, SCALES, note)


def _answer(at: At) -> Equation:
    """From the network's output to the clean latents; of the half with the prompt."""
    kind = kind_of(at.trace)
    x0 = to_x0(named(asked_key(at.step)), asked_sigma(at.step), named(at.key("output")), kind)
    terms = tuple(term(key, value) for key, value in parts_of(x0).items())
    note = "With the prompt; F is worked out from the x̂₀ that is stored.  Without it the rule is the same."
    title, key = "From the network's answer to x0", at.key("x0_cond")
    return Equation(at, title, ANSWERS[kind], written("x̂₀ᶜ", terms), terms, DENOISER, note, key)


def _identity(at: At) -> Equation:
    """The latents as clean picture and noise."""
    terms = (term(at.key("x0"), 1.0), term(at.key("eps"), asked_sigma(at.step)))
    key = asked_key(at.step)
    note = (
        f"ε̂ has a standard deviation of {number(rms(at.tensor(at.key('eps'))))}; the noise of training had 1."
    )
    text = written(term(key, 1.0).symbol, terms)
    return Equation(at, "A clean picture and noise", "x = x̂₀ + σ ε̂", text, terms, SCALES, note, key)
