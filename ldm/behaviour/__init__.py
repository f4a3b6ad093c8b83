"""What a network predicts, found by asking it: noise, velocity or the clean picture.

Nothing in the names and shapes of a file tells eps, v and x0 apart, and labels are wrong or missing.  But of
pictures drawn here it is known what was there before the noise: the network is shown some of them under known
noise, its answers are read in each of the three ways, and the reading under which it denoises is the right
one.  The same with another scale of the latents tells a wrong scaling factor; whether the last timestep still
finds a picture tells a schedule that ends in pure noise.
"""

import math
from dataclasses import dataclass

import torch

from ..diffusion.denoiser import PredictionType
from ..latent_diffusion import LatentDiffusion
from .asking import Shown, leak, scores, show

__all__ = ["SURE", "Verdict", "check_label", "decide"]

SURE = 0.5  # confidence from which a label is contradicted
DENOISES = 0.9  # multiple of mere shrinking's error, at most, that shows a trained network
PLAUSIBLE = 3.0  # latents of drawn pictures may be this much narrower or wider than those of photographs
LEAK = 0.25  # share of a picture in the last timestep that a network finds if it has learned to look
FEW_STEPS = 8  # that models are distilled to
NAMES = {"eps": "the noise (eps)", "v": "the velocity (v)", "x0": "the clean latents (x0)"}


@dataclass(frozen=True)
class Verdict:
    """How a model behaves.

    Attributes:
        prediction_type: the reading under which it denoises best, whatever the confidence.
        confidence: 0 to 1; below `SURE` it cannot be told: the network is not trained, or off its track.
        scores: reading -> error left, as a multiple of what mere shrinking leaves.
        zero_terminal_snr: whether it was trained to begin from pure noise; None where that cannot be told: an
            eps network has nothing to say about it, and one distilled to a few steps looks at any noise.
        latent_scaling_factor: the label's if it is fine, else a better one, about.
        latent_scaling_factor_ok: whether the label's is fine, or nothing speaks against it.
        evidence: sentences.
    """

    prediction_type: PredictionType
    confidence: float
    scores: dict[PredictionType, float]
    zero_terminal_snr: bool | None
    latent_scaling_factor: float
    latent_scaling_factor_ok: bool
    evidence: tuple[str, ...]

    @property
    def is_sure(self) -> bool:
        """Whether the confidence is enough to contradict a label."""
        return self.confidence >= SURE


@torch.no_grad()
def decide(model: LatentDiffusion) -> Verdict:
    """Ask a model what it predicts, in a few calls of its network at 256 pixels; labels decide nothing.

    Raises:
        SettingsError: its network needs something that cannot be made up here.
    """
    shown = show(model)
    factor, found = _factor(model, shown)
    ranked = sorted(found, key=lambda kind: found[kind])
    best, label = ranked[0], model.latent_scaling_factor
    confidence = _confidence(found[best], found[ranked[1]])
    sure = confidence >= SURE
    seen = leak(model, shown, factor, best) if sure and best != "eps" else None
    spread = _spread(shown)
    lines = [
        *(f"Read as {NAMES[kind]} it leaves {found[kind]:.2f} of mere shrinking's error." for kind in ranked),
        f"Latents of drawn pictures have a spread of {spread:.3g}, times {label:g} {label * spread:.2f}.",
    ]
    if seen is not None:
        last, before = (f"{max(share, 0):.0%}" for share in seen)
        lines.append(f"Of a picture hidden in noise it finds {before}, at the last timestep {last}.")
    if not sure:
        lines.append("It denoises under no reading, or under two alike: what it predicts cannot be told.")
    return Verdict(
        prediction_type=best,
        confidence=confidence,
        scores={kind: found[kind] for kind in ranked},
        zero_terminal_snr=_ends_in_noise(model, seen),
        latent_scaling_factor=factor if sure else label,
        latent_scaling_factor_ok=factor == label or not sure,
        evidence=tuple(lines),
    )


def check_label(model: LatentDiffusion, verdict: Verdict | None = None) -> str | None:
    """One sentence where a model's file says about it what its behaviour contradicts; None where it does not.

    Args:
        verdict: of `decide`, where that was asked already.
    """
    verdict = decide(model) if verdict is None else verdict
    if not verdict.is_sure:
        return None
    label, wrong = model.config, []
    if verdict.prediction_type != label.prediction_type:
        wrong.append(f"predicts {NAMES[verdict.prediction_type]}, not {NAMES[label.prediction_type]}")
    if not verdict.latent_scaling_factor_ok:
        factor = verdict.latent_scaling_factor
        wrong.append(f"expects latents times about {factor:.2g}, not times {label.latent_scaling_factor:g}")
    snr = verdict.zero_terminal_snr
    if snr is not None and snr != label.schedule.zero_terminal_snr:
        ends = ("ends in pure noise", "keeps some of the picture to its end")
        said, meant = ends if snr else ends[::-1]
        wrong.append(f"learned on a schedule that {said}, not on one that {meant}")
    if not wrong:
        return None
    sure = f"{verdict.confidence:.0%}"
    return f"{model.name} {', and '.join(wrong)} as its file says (by its behaviour, {sure} sure)."


def _ends_in_noise(model: LatentDiffusion, seen: tuple[float, float] | None) -> bool | None:
    if seen is None:
        return None
    last, before = seen
    if last < LEAK:
        return True if before >= 2 * LEAK else None  # one that never looks has not learned enough
    return None if model.config.recommended.steps <= FEW_STEPS else False


def _spread(shown: Shown) -> float:
    return float(shown.latents.square().mean().sqrt())


def _factor(model: LatentDiffusion, shown: Shown) -> tuple[float, dict[PredictionType, float]]:
    """The factor that serves the network best, the label's unless it is far off, and the scores with it."""
    label, spread = model.latent_scaling_factor, _spread(shown)
    found = scores(model, shown, label)
    if not spread > 0 or not math.isfinite(spread) or 1 / PLAUSIBLE <= label * spread <= PLAUSIBLE:
        return label, found
    other = scores(model, shown, 1 / spread)
    return (1 / spread, other) if min(other.values()) < min(found.values()) else (label, found)


def _confidence(best: float, second: float) -> float:
    """0 to 1 from the errors of the two best readings: the best must denoise, the other not do as well."""
    if not best < DENOISES:
        return 0.0
    return min((DENOISES - best) / (DENOISES / 2), 1.0) * (1 - (best / second) ** 2)
