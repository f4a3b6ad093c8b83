"""How a step's guided x0 came out of what the network said with and without the prompt."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..diffusion import from_settings
from ..diffusion.denoiser import guide, to_x0
from ..diffusion.guidance import METHODS, Guidance, combine, progress
from ..diffusion.schedule import NoiseSchedule
from ..images import to_tensor
from ..settings import Settings
from .combination import named, parts_of
from .equation import (
    REST,
    At,
    Equation,
    Term,
    asked_key,
    asked_sigma,
    asked_x,
    kind_of,
    number,
    output_of,
    rms,
    term,
    written,
)

GUIDANCE = "Guidance: `ldm/diffusion/guidance.py`"
T = 1000  # training timesteps of a model that is not at hand
AGREES = 1e-4  # RMS, of unit variance: above it these settings are not what made the step

SYMBOLS = {
    "cfg": "x̂₀ = x̂₀ᵘ + s (x̂₀ᶜ − x̂₀ᵘ)",
    "cfg_pp": "x̂₀ = x̂₀ᵘ + s (x̂₀ᶜ − x̂₀ᵘ),  the noise that stays is that of x̂₀ᵘ",
    "perpendicular": "x̂₀ = x̂₀ᵘ + s ((x̂₀ᶜ − x̂₀ᵘ) − w (x̂₀ᵗ − x̂₀ᵘ)⊥)",
    "two_scale": "x̂₀ = x̂₀ᵘ + s₁ (x̂₀ᵗ − x̂₀ᵘ) + s (x̂₀ᶜ − x̂₀ᵗ)",
}
RESCALED = ",  then the output times f = 1 − φ + φ std(Fᶜ) / std(F)"


def guidance_of(settings: Settings, picture: int) -> Guidance:
    """What guidance one picture of the batch was asked for."""
    guidance = from_settings.guidance_of(settings)
    scales = guidance.scales
    return replace(guidance, scale=scales[picture] if len(scales) > 1 else scales[0])


def guidance_equation(at: At, schedule: NoiseSchedule | None = None) -> Equation:
    """The guided x0 of one picture, with the scale and the rescale factor that acted in this step.

    Where the settings do not lead to what is stored (another run's step, a model of another T), the scale and
    the factor are those that the stored tensors have.
    """
    p = at.step.prediction
    timesteps = T if schedule is None else len(schedule)
    guidance = guidance_of(at.trace.settings, at.picture).at(progress(at.step.timestep, timesteps))
    if p.x0_uncond is None:
        return _alone(at, "Guidance was off in this step: the network was asked with the prompt alone.")
    if torch.equal(p.x0[at.picture], p.x0_cond[at.picture]):
        return _alone(at, "The scale is 1 here, which is no guidance.")
    where = _painted(at)
    made = _by_settings(at, guidance, where)
    if _agrees(made):
        return made
    if guidance.threshold == 0 and p.x0_third is None:
        measured = _by_measure(at, where)
        if _agrees(measured):
            return measured
    why = "dynamic thresholding took away" if guidance.threshold else "other settings than this run's made"
    terms = (*made.terms, Term(1.0, "what is left", "ρ", REST))
    return replace(
        made, terms=terms, numbers=written("x̂₀", terms), note=f"{made.note} What is left, ρ, {why}."
    )


def _agrees(made: Equation) -> bool:
    return made.error is not None and made.error < AGREES


def _alone(at: At, note: str) -> Equation:
    """Without guidance x0 is what was predicted with the prompt."""
    return _equation(at, {at.key("x0_cond"): 1.0}, "x̂₀ = x̂₀ᶜ", note)


def _equation(
    at: At, parts: Mapping[str, float], symbols: str, note: str, where: Tensor | None = None
) -> Equation:
    terms = tuple(term(key, value) for key, value in parts.items() if value != 0)
    text = written("x̂₀", terms)
    return Equation(at, "Guidance", symbols, text, terms, GUIDANCE, note, at.key("x0"), where=where)


def _by_settings(at: At, guidance: Guidance, where: Tensor | None) -> Equation:
    """By the formula of the run's method, at the scale that the schedule has here."""
    coefficients = _method(at, guidance)
    factor = _factor(at, guidance, coefficients, where) if guidance.rescale else 1.0
    symbols, note = SYMBOLS[guidance.method], f"s is {number(guidance.scales[0])} in this step."
    if guidance.rescale:
        symbols += RESCALED
        note += (
            f" The rescale φ = {number(guidance.rescale)} multiplied the network's guided output by f = "
            f"{number(factor)}; a share of x comes with that."
        )
    if where is not None:
        note += " Where the mask keeps the picture, x̂₀ is the picture's."
    parts = {key: factor * value for key, value in coefficients.items()}
    return _equation(at, {asked_key(at.step): _x_share(at) * (1 - factor), **parts}, symbols, note, where)


def _factor(at: At, guidance: Guidance, coefficients: Mapping[str, float], where: Tensor | None) -> float:
    """What the rescale multiplied the guided output by."""
    plain = torch.zeros_like(at.step.x[at.picture], dtype=torch.float64)
    for key, value in coefficients.items():
        plain = plain + value * at.tensor(key)
    # where a part was kept, what the network said of it is not stored, and so the spread of all it said
    made = _guided_again(at, guidance) if where is None else at.tensor(at.key("x0"))
    output, raw = (output_of(at, x0) for x0 in (made, plain))
    if where is not None:
        output, raw = output[:, where], raw[:, where]
    square = float((raw * raw).sum())
    return float((output * raw).sum()) / square if square > 0 else 1.0


def _guided_again(at: At, guidance: Guidance) -> Tensor:
    """(C, H, W) x0 guided and rescaled, from what is stored; before dynamic thresholding."""
    p, one = at.step.prediction, slice(at.picture, at.picture + 1)
    uncond, third = (None if x0 is None else x0[one].double() for x0 in (p.x0_uncond, p.x0_third))
    x, sigma = asked_x(at.step)[one].double(), asked_sigma(at.step)
    bare = replace(guidance, threshold=0.0)
    return guide(x, sigma, p.x0_cond[one].double(), uncond, third, bare, kind_of(at.trace))[0]


def _method(at: At, guidance: Guidance) -> dict[str, float]:
    """Coefficients of the stored predictions in the method's formula."""
    has_third = at.step.prediction.x0_third is not None
    names = ("x0_cond", "x0_uncond", *(("x0_third",) if has_third else ()))
    keys = [at.key(name) for name in names]
    if guidance.method != "perpendicular" or not has_third:
        cond, uncond, *third = (named(key) for key in keys)
        method = METHODS[guidance.method]
        return parts_of(method(cond, uncond, third[0] if third else None, guidance.scales[0], guidance))
    # its formula has a product of tensors, but what comes out is a sum of the three
    cond, uncond, other = (at.tensor(key)[None] for key in keys)
    away = (combine(cond, uncond, other, guidance) - uncond).flatten()
    sides = torch.stack([(cond - uncond).flatten(), (other - uncond).flatten()], dim=1)  # (C * H * W, 2)
    sides, away = sides.nan_to_num(0, 0, 0), away.nan_to_num(0, 0, 0)  # the solver refuses what is no number
    a, b = torch.linalg.lstsq(sides, away[:, None]).solution.flatten().tolist()
    return dict(zip(keys, (a, 1 - a - b, b), strict=True))


def _x_share(at: At) -> float:
    """How much of x there is in x0, beside the output."""
    x0 = to_x0(named("x"), asked_sigma(at.step), named("output"), kind_of(at.trace))
    return parts_of(x0).get("x", 0.0)


def _by_measure(at: At, where: Tensor | None) -> Equation:
    """With the coefficients that the stored tensors have, by least squares, of classifier-free guidance."""
    names = ("x0_cond", "x0_uncond", *(() if _x_share(at) == 0 else (asked_key(at.step),)))
    keys = [name if " " in name else at.key(name) for name in names]
    columns = [at.tensor(key) for key in (*keys, at.key("x0"))]
    *sides, made = (c.flatten() if where is None else c[:, where].flatten() for c in columns)
    sizes = [max(rms(side), 1e-12) for side in sides]  # of one size, or the largest decides what is small
    table = torch.stack([side / size for side, size in zip(sides, sizes, strict=True)], dim=1)
    table, made = table.nan_to_num(0, 0, 0), made.nan_to_num(0, 0, 0)  # the solver refuses what is no number
    found = torch.linalg.lstsq(table, made[:, None]).solution.flatten().tolist()
    parts = {key: value / size for key, value, size in zip(keys, found, sizes, strict=True)}
    factor = parts[keys[0]] + parts[keys[1]]
    scale = parts[keys[0]] / factor if factor else 0.0
    note = (
        f"This run's settings do not make what is stored; s = {number(scale)} and f = {number(factor)} do, "
        "as measured."
    )
    return _equation(at, parts, SYMBOLS["cfg"] + RESCALED, note, where)


def _painted(at: At) -> Tensor | None:
    """(H, W) bool: which latents were painted anew; None if all, or where the network itself saw the mask."""
    mask, p = at.trace.mask, at.step.prediction
    if mask is None or p.x0_uncond is None:
        return None
    factor = at.trace.settings.width // at.step.x.shape[-1]
    white = torch.nn.functional.max_pool2d(to_tensor([mask])[:, :1] / 2 + 0.5, factor)[0, 0]  # (H, W)
    kept = (white == 0).expand_as(p.x0)
    if not kept.any() or not torch.equal(p.x0_cond[kept], p.x0_uncond[kept]):
        return None
    return white == 1
