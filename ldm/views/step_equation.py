"""How a sampler's step makes the next latents, with its numbers."""

from collections.abc import Sequence
from dataclasses import replace

from ..diffusion.samplers import SAMPLERS
from ..diffusion.samplers.base import BLIND
from ..diffusion.schedule import NoiseSchedule
from .equation import (
    REST,
    At,
    Equation,
    Fresh,
    Term,
    asked_key,
    asked_sigma,
    dated,
    latents_symbol,
    number,
    redrawn,
    rms,
    term,
    written,
)
from .updates import Update, goes_up, is_noising, update

SCALES = "Two scales"
STEPS = "Steps"
BEYOND = "Steps that ask more than once"
INVERSION = "Inversion"

PRIMES = "′″‴"
SAME = 1e-9  # two coefficients that rounding tells apart

EULER = "xₙ = x̂₀ + r (x − x̂₀),  r = σₙ / σ"
UNKNOWN = "xₙ = r x + (1 − r) x̂₀*,  r = σₙ / σ"
RISE = "xₙ = xₗ + √(σₙ² − σₗ²) z,  xₗ from Heun's step to σₗ"
NOISING = "xₙ = x + (σₙ − σ) ε,  so that x = x₀ + σ ε at every level"
UPHILL = "xₙ = x + (σₙ − σ) ε̂,  ε̂ = (x̃ − x̂₀) / σₙ"
_ANCESTRAL = "xₙ = x̂₀ + σ↓ ε̂ + σ↑ z,  σ↓² + σ↑² = σₙ²"
_SLOPES = "xₙ = x + Σ wⱼ ε̂₍₋ⱼ₎,  Σ wⱼ = σₙ − σ"
_SDE = "xₙ = e⁻ᴴ x + (1 − e⁻ᴴ) x̂₀ + b (x̂₀ − x̂₀⁽⁻¹⁾) + σₙ √(1 − e⁻²ᶯʰ) z,  H = (1 + η) h,  h = ln(σ / σₙ)"

SYMBOLS: dict[str, str] = {
    "dpmpp_2m": "xₙ = r x + (1 − r) (x̂₀ + (x̂₀ − x̂₀⁽⁻¹⁾) / 2q),  r = σₙ / σ,  q = ln(σ₋₁ / σ) / ln(σ / σₙ)",
    "ddim": _ANCESTRAL,
    "ddpm": _ANCESTRAL + ",  η = 1",
    "ddpm_large": "xₙ = x̂₀ + (σₙ / σ)² (x − x̂₀) + √((σ² − σₙ²) (1 + σₙ²) / (1 + σ²)) z",
    "plms": _SLOPES + ",  w = (55, −59, 37, −9) / 24 (σₙ − σ)",
    "euler": EULER,
    "euler_ancestral": _ANCESTRAL,
    "heun": "xₙ = x + (σₙ − σ) (ε̂ + ε̂′) / 2,  ε̂′ at Euler's xₙ",
    "dpm_2": "xₙ = x + (σₙ − σ) ε̂′,  ε̂′ at √(σ σₙ)",
    "dpm_2_ancestral": "xₙ = x + (σ↓ − σ) ε̂′ + σ↑ z,  ε̂′ at √(σ σ↓)",
    "lms": _SLOPES + ",  the polynomial in σ through the slopes, integrated",
    "dpmpp_2s_ancestral": "xₙ = r x + (1 − r) x̂₀′ + σ↑ z,  r = σ↓ / σ,  x̂₀′ at √(σ σ↓)",
    "dpmpp_sde": "xₙ = r x + (1 − r) x̂₀′ + σ↑ z,  r = σ↓ / σ,  x̂₀′ at √(σ σₙ)",
    "dpmpp_2m_sde": _SDE,
    "dpmpp_2m_sde_heun": _SDE,
    "dpmpp_3m_sde": "xₙ = e⁻ᴴ x + (1 − e⁻ᴴ) x̂₀ + slope + bend + σₙ √(1 − e⁻²ᶯʰ) z,  H = (1 + η) h",
    "dpm_fast": "xₙ = x + Σ wⱼ ε̂⁽ʲ⁾,  slopes at σ, at a third and at two thirds of the way in ln σ",
    "dpmpp_1": EULER,
    "dpmpp_3m": "xₙ = r x + (1 − r) x̂₀ + slope + bend,  from x̂₀, x̂₀⁽⁻¹⁾ and x̂₀⁽⁻²⁾ in ln σ",
    "dpmpp_2s": "xₙ = r x + (1 − r) x̂₀′,  x̂₀′ at √(σ σₙ)",
    "dpmpp_3s": "xₙ = r x + (1 − r) x̂₀ + b (x̂₀″ − x̂₀),  x̂₀″ at two thirds of the way in ln σ",
    "unipc": "xₙ = r xᶜ + (1 − r) (x̂₀ + Σ ρⱼ Dⱼ),  xᶜ = x corrected by x̂₀,  Dⱼ = (x̂₀⁽⁻ʲ⁾ − x̂₀) / rⱼ",
    "deis": _SLOPES + ",  the polynomial in ln σ through the slopes, integrated",
    "ipndm": _SLOPES + ",  w = (55, −59, 37, −9) / 24 (σₙ − σ)",
    "restart": "xₙ = x + (σₙ − σ) (ε̂ + ε̂′) / 2,  ε̂′ at Euler's xₙ",
    "lcm": "xₙ = x̂₀ + σₙ z",
    "tcd": "xₙ = x̂₀ + σₛ ε̂ + √(σₙ² − σₛ²) z,  σₛ at timestep (1 − γ) tₙ",
    "langevin": "xₙ = x + α (x̂₀ − x) / σ² + √(2α) z",
}


def step_equation(at: At, schedule: NoiseSchedule | None = None) -> Equation:
    """`x_next` of one picture, as a sum of stored latents and fresh noise.

    Steps whose further answers are not stored are given as if they had made Euler's step with another x0.
    """
    step = at.step
    made = update(at.trace, step.index, schedule)
    if made is None:
        return _general(at)
    if made.middle:
        return _with_middle(at, made)
    if is_noising(step):
        return _equation(at, _ordered(at, made.parts), NOISING, "The noise is the same all the way.", SCALES)
    if goes_up(step):
        return _equation(at, _ordered(at, made.parts), UPHILL, "", INVERSION)
    euler = _euler_note(at, made)
    terms, fresh = _terms(at, made)
    symbols = EULER if euler else SYMBOLS[at.trace.settings.sampler]
    note = " ".join(text for text in (euler, _fresh_note(fresh)) if text)
    return _equation(at, terms, symbols, note, STEPS, fresh)


def _equation(
    at: At, terms: Sequence[Term], symbols: str, note: str, section: str, fresh: Fresh | None = None
) -> Equation:
    left = latents_symbol(at.step.index + 1)
    text = written(left, terms)
    return Equation(
        at, "The sampler's step", symbols, text, tuple(terms), section, note, at.key("x_next"), fresh
    )


def _ordered(at: At, parts: dict[str, float]) -> list[Term]:
    """Terms by kind: these latents, x0s and those without the prompt, earlier latents, noise."""
    kinds, here = ("x0", "x0_uncond", "x", "x_asked"), asked_key(at.step)

    def rank(key: str) -> tuple[int, int]:
        name, _, rest = key.partition(" ")
        if key == here:
            return 0, 0
        return (1 + kinds.index(name), -int(rest)) if name in kinds else (1 + len(kinds), 0)

    return [dated(term(key, parts[key]), at.step.index) for key in sorted(parts, key=rank)]


def _terms(at: At, made: Update) -> tuple[list[Term], Fresh | None]:
    """The terms, and what its fresh noise should be and is."""
    terms = _ordered(at, made.parts)
    if not made.noise:
        return terms, None
    known = [t for t in terms if t.key not in made.noise]
    amount, left = made.parts[made.noise[0]], at.tensor(at.key("x_next"))
    for other in known:
        left = left - other.coefficient * at.tensor(other.key)
    if not redrawn(at.trace):
        terms = [*known, Term(amount, "fresh noise", "z", REST)]
    return terms, Fresh(amount, rms(left))


def _fresh_note(fresh: Fresh | None) -> str:
    if fresh is None:
        return ""
    return (
        f"z is fresh noise: {number(fresh.expected)} of it by the formula, {number(fresh.measured)} in the "
        "latents that are stored."
    )


def _euler_note(at: At, made: Update) -> str:
    """Why this is Euler's step where its sampler makes another elsewhere; "" if it is not."""
    name, sigma, x = at.trace.settings.sampler, asked_sigma(at.step), asked_key(at.step)
    ratio = at.step.sigma_next / sigma
    if set(made.parts) - {x, at.key("x0")} or abs(made.parts.get(x, 0.0) - ratio) > SAME:
        return ""
    if SYMBOLS[name] == EULER:
        return ""
    if at.step.sigma_next == 0:
        return "A step to σ = 0 is Euler's: what comes out is x̂₀ itself."
    if sigma > BLIND and (SAMPLERS[name].calls > 1 or name == "plms"):
        return (
            f"From σ = {number(sigma)}, which stands for infinite noise (above {number(BLIND)}), the sampler "
            "makes Euler's step: a difference of slopes would be multiplied by hundreds."
        )
    return "Without fresh noise, and with no earlier answer to go by, this is Euler's step."


def _with_middle(at: At, made: Update) -> Equation:
    """Further answers are not stored: what they came to, as one clean picture."""
    x = asked_key(at.step)
    share = made.parts.get(x, 0.0)
    noise = [term(key, made.parts[key]) for key in made.noise]
    if noise and not redrawn(at.trace):
        return _both_unknown(at, made)
    clean = Term(1 - share, "the x0 that the step acted on", "x̂₀*", REST)
    symbols = RISE if at.step.sigma_next > at.step.sigma else SYMBOLS[at.trace.settings.sampler]
    found = _equation(at, [term(x, share), clean, *noise], symbols, "", BEYOND)
    away = rms(found.tensor(clean) - at.tensor(at.key("x0")))
    note = (
        f"{_asked_again(at, made)}  x̂₀* is the clean picture that gives the same latents by Euler's rule; it "
        f"lies {number(away)} (RMS) from the network's x̂₀."
    )
    return replace(found, note=note)


def _asked_again(at: At, made: Update) -> str:
    """What the step is with the answers that are not stored, which have primes."""
    stored = {key: value for key, value in made.parts.items() if key not in made.middle}
    middle = [
        Term(made.parts[key], "an answer that is not kept", "x̂₀" + PRIMES[int(key.split()[1]) - 1], key)
        for key in made.middle
    ]
    own = written(latents_symbol(at.step.index + 1), [*_ordered(at, stored), *middle])
    levels = ", ".join(number(sigma) for sigma in made.asked[1:])
    return f"The step asked again at σ = {levels}; what it was told is not kept.  With that it is {own}."


def _both_unknown(at: At, made: Update) -> Equation:
    """Noise that cannot be drawn again as well: Euler's step to where it is added, and what is left."""
    x = asked_key(at.step)
    share, amount = made.parts.get(x, 0.0), made.parts[made.noise[0]]
    rest = Term(1.0, "fresh noise, and what the answers in the middle changed", "ρ", REST)
    symbols = RISE if at.step.sigma_next > at.step.sigma else SYMBOLS[at.trace.settings.sampler]
    terms = [term(x, share), term(at.key("x0"), 1 - share), rest]
    found = _equation(at, terms, symbols, "", BEYOND)
    note = (
        f"{_asked_again(at, made)}  ρ is what is left beside Euler's step: {number(rms(found.tensor(rest)))} "
        f"(RMS), of which {number(amount)} is the fresh noise."
    )
    return replace(found, note=note)


def _general(at: At) -> Equation:
    """Nothing is known but where it led."""
    x, sigma = asked_key(at.step), asked_sigma(at.step)
    if sigma <= 0 or at.step.sigma_next >= sigma:
        rest = Term(1.0, "what the step added", "ρ", REST)
        return _equation(at, [term(x, 1.0), rest], "xₙ = x + ρ", _why(at), BEYOND)
    ratio = at.step.sigma_next / sigma
    clean = Term(1 - ratio, "the x0 that the step acted on", "x̂₀*", REST)
    found = _equation(at, [term(x, ratio), clean], UNKNOWN, "", BEYOND)
    away = rms(found.tensor(clean) - at.tensor(at.key("x0")))
    note = (
        f"{_why(at)}  x̂₀* is what the step acted as if the clean picture were, fresh noise included; it lies "
        f"{number(away)} (RMS) from the network's x̂₀."
    )
    return replace(found, note=note)


def _why(at: At) -> str:
    if at.earlier and at.trace.parent is not None:
        return (
            f"This step was made before the run was taken up at step {at.trace.parent[1] + 1}, with settings "
            "that this run does not keep."
        )
    if at.trace.settings.sampler == "tcd":
        return "Where TCD jumps to follows from the model's schedule, which the run does not keep."
    return "The run does not keep what its sampler went by here."
