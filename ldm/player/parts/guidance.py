"""Guidance with another strength, in the browser: what each step predicted with and without the prompt.

Guided x0 is a sum of x0_uncond, x0_cond and x whose weights are numbers, also after the rescale: the
network's output is x0 stretched and shifted, so its standard deviation is the root of a quadratic in the
strength.  The page gets the three tensors and the numbers; `assets/guidance.js` does the sum.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...diffusion.denoiser import PREDICTION_TYPES, PredictionType, from_x0
from ...errors import check_choice
from ...settings import Settings
from ...trace import Step, Trace
from ...views.curves import curves
from ...views.predictions import guidance as pull
from .context import Context

LEVELS = 32767  # of int16: an error of at most 1 / 65534 of the largest, 16 times finer than float16
PIECE = 4 * 2**20  # bytes of one file
WORK = 4_000_000  # multiplications to decode one latent tensor; about 3 ms in a browser
PIXELS = 2**18  # of a drawn picture; about 5 ms while a slider is dragged

AT_1 = (
    "This run was made at guidance 1: the network was asked about the prompt alone, and there is no other "
    "prediction to weigh it against."
)
PERPENDICULAR = (
    "This run weighs three predictions against each other (perpendicular), which one slider cannot do again."
)
TWO_SCALE = "This run weighs the picture and the words apart (two_scale), which one slider cannot do again."
THRESHOLD = (
    "This run cuts off what guidance blew up (dynamic_threshold), which is no sum of its predictions and is "
    "not done again here."
)
HELD = (
    "A part of the picture was kept in this run, so what the network said there, which the rescale needs, is "
    "not stored."
)


def guidance(trace: Trace, context: Context) -> dict[str, Any] | None:
    """For the page to guide every step again, as `diffusion.denoiser.guide` does.

    Returns:
        `why` alone where that cannot be done; None without steps.  Else: channels, height, width of the
        latents; steps: `_numbers` of each, null where guidance was off; count: steps in a file; files: int16
        x0_uncond, x0_cond and x of each step that has numbers, each times LEVELS / its largest; map, factor:
        `_map`; apart: the largest mean over channels of |x0_cond - x0_uncond|; schedule: of cfg_scale;
        rescales: whether the strength of the rescale can be chosen; curves.
    """
    if not trace.steps:
        return None
    why = _why_not(trace)
    if why:
        return {"why": why}
    picture = context.look.picture
    steps = [step.of_picture(picture) for step in trace.steps]
    settings = trace.settings.of_picture(picture)
    numbers = [_numbers(step, settings, trace.prediction_type) for step in steps]
    guided = [step for step in steps if step.prediction.x0_uncond is not None]
    channels, height, width = steps[0].x.shape[1:]
    count = max(1, PIECE // (6 * channels * height * width))
    pieces = [guided[start : start + count] for start in range(0, len(guided), count)]
    weights, factor = _map(context.linear, height * width)
    return {
        "channels": channels,
        "height": height,
        "width": width,
        "steps": numbers,
        "count": count,
        "files": [context.put(f"guidance-{k}.bin", _packed(piece)) for k, piece in enumerate(pieces)],
        "map": context.put("map.bin", weights),
        "factor": factor,
        "apart": _apart(trace, picture),
        "schedule": settings.cfg_schedule,
        "rescales": not _held(trace),
        "curves": _curves(trace, picture),
    }


def _why_not(trace: Trace) -> str | None:
    """Why one slider cannot guide this run again, as a sentence."""
    settings, predictions = trace.settings, [step.prediction for step in trace.steps]
    if all(p.x0_uncond is None for p in predictions):
        return AT_1
    if settings.cfg_method == "two_scale":
        return TWO_SCALE
    if settings.cfg_method == "perpendicular" and any(p.x0_third is not None for p in predictions):
        return PERPENDICULAR
    if settings.dynamic_threshold != 0:
        return THRESHOLD
    return HELD if settings.cfg_rescale != 0 and _held(trace) else None


def _held(trace: Trace) -> bool:
    """Whether predictions were held to a picture: there both are the same to the last bit."""
    if trace.mask is None:
        return False
    pairs = [(s.prediction.x0_cond, s.prediction.x0_uncond) for s in trace.steps]
    return any(b is not None and bool((a == b).all(1).any()) for a, b in pairs)


@dataclass(frozen=True)
class _Spread:
    """How widely the network's output is spread: var(s) = variance + 2 s covariance + s**2 difference.

    Attributes:
        variance: of the output without the prompt.
        covariance: of that and the difference.
        difference: variance of output with the prompt minus without.
        cond: standard deviation with the prompt.
    """

    variance: float
    covariance: float
    difference: float
    cond: float

    def stretch(self, scale: float, rescale: float) -> float:
        """What the rescale multiplies the guided output by; Lin et al. 2023 (arXiv:2305.08891) eq. 16."""
        variance = self.variance + 2 * scale * self.covariance + scale**2 * self.difference
        ratio = self.cond / math.sqrt(variance) if variance > 0 else 1.0
        return 1 - rescale + rescale * ratio


def _numbers(step: Step, settings: Settings, prediction_type: str) -> dict[str, Any] | None:
    """What the page needs of a step beside its tensors.

    Returns:
        scale, rescale: as the step was guided; largest: of |x0_uncond|, |x0_cond| and |x|; shift: how much
        of x comes in, `x0 = k * guided + (1 - k) * shift * x`; spread: variance, covariance, difference, cond
        of `_Spread`.
    """
    p = step.prediction
    if p.x0_uncond is None:
        return None
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    kind = cast(PredictionType, prediction_type)
    x, sigma = _asked(step)
    guided, cond, uncond = (
        from_x0(x.double(), sigma, x0.double(), kind).flatten() for x0 in (p.x0, p.x0_cond, p.x0_uncond)
    )
    difference = cond - uncond
    a, b = uncond - uncond.mean(), difference - difference.mean()
    spread = _Spread(_mean(a * a), _mean(a * b), _mean(b * b), float(cond.std(correction=0)))
    scale, rescale = _measured(guided, uncond, difference, spread, settings)
    return {
        "scale": scale,
        "rescale": rescale,
        "largest": [_largest(t) for t in (p.x0_uncond, p.x0_cond, x)],
        "shift": {"eps": 1.0, "v": 1 / (1 + sigma**2), "x0": 0.0}[kind],
        "spread": [spread.variance, spread.covariance, spread.difference, spread.cond],
    }


def _measured(
    guided: Tensor, uncond: Tensor, difference: Tensor, spread: _Spread, settings: Settings
) -> tuple[float, float]:
    """(scale, rescale) that a step was guided with, from what it predicted.

    Settings alone do not tell: a schedule changes the scale, and a run that was taken up with other settings
    has steps of both.  They are taken where the step agrees with them.

        output = k * (uncond + scale * difference)
    """
    usual = settings.cfg_scale if settings.cfg_scales is None else settings.cfg_scales[0]
    basis = torch.stack([uncond, difference], dim=1)  # (n, 2)
    gram = basis.T @ basis
    if float(torch.linalg.det(gram)) <= 1e-12 * float(gram[0, 0] * gram[1, 1]):
        return usual, settings.cfg_rescale  # the prompt changes nothing that could be measured
    stretch, times = torch.linalg.solve(gram, basis.T @ guided).tolist()
    if stretch <= 0:
        return usual, settings.cfg_rescale
    scale = times / stretch
    scale = usual if math.isclose(scale, usual, rel_tol=1e-3, abs_tol=1e-3) else round(scale, 3)
    full = 1 - spread.stretch(scale, 1.0)
    if math.isclose(stretch, spread.stretch(scale, settings.cfg_rescale), rel_tol=1e-4) or abs(full) < 1e-4:
        return scale, settings.cfg_rescale
    return scale, min(1.0, max(0.0, round((1 - stretch) / full, 3)))


def _asked(step: Step) -> tuple[Tensor, float]:
    """The latents and the noise level that the network was asked about."""
    x = step.x if step.x_asked is None else step.x_asked
    return x, step.sigma if step.sigma_asked is None else step.sigma_asked


def _packed(steps: list[Step]) -> bytes:
    """(steps, 3, C, H, W) int16, little endian: x0_uncond, x0_cond and x, each times LEVELS / its largest."""
    rows = []
    for step in steps:
        uncond, cond = step.prediction.x0_uncond, step.prediction.x0_cond
        rows += [_levels(t) for t in (uncond, cond, _asked(step)[0]) if t is not None]
    return torch.cat(rows).numpy().astype("<i2").tobytes()


def _levels(tensor: Tensor) -> Tensor:
    values = tensor.double().nan_to_num(0, 0, 0) * (LEVELS / _largest(tensor))
    return values.round().to(torch.int16)


def _largest(tensor: Tensor) -> float:
    return max(float(tensor.double().nan_to_num(0, 0, 0).abs().max()), 1e-12)


def _map(linear: tuple[Tensor, Tensor], latents: int) -> tuple[bytes, int]:
    """The linear map for the page: (C, 3, g, g) weight and (3,) bias as float32, and g pixels for a latent.

    With many latents g is less than f, pixels being means of f / g of them: what is drawn while a slider is
    dragged must not wait for it.
    """
    weight, bias = (t.float() for t in linear)
    channels, f = weight.shape[0], weight.shape[-1]
    pixels = min(PIXELS, WORK // (3 * channels))
    factor = next((g for g in range(f, 1, -1) if f % g == 0 and g * g * latents <= pixels), 1)
    weight = torch.nn.functional.avg_pool2d(weight, f // factor)
    return torch.cat([weight.flatten(), bias]).numpy().astype("<f4").tobytes(), factor


def _apart(trace: Trace, picture: int) -> float:
    maps = [pull(trace, k) for k in range(len(trace.steps))]
    return max(_largest(m[picture]) for m in maps if m is not None)


def _curves(trace: Trace, picture: int) -> list[dict[str, Any]]:
    columns = curves(trace, picture)
    angles = np.degrees(np.arccos(np.clip(columns["cosine"], -1, 1))).tolist()
    return [
        {"title": "Norm of the difference", "values": columns["guidance_norm"], "log": False},
        {"title": "Angle between the two noises", "values": angles, "log": False, "unit": "°"},
        {"title": "Spread of x0, share of the final", "values": columns["saturation"], "log": False},
    ]


def _mean(x: Tensor) -> float:
    return float(x.mean())
