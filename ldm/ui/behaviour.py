"""What a network predicts, found by asking it, as JSON for the page."""

from typing import Any

from ..behaviour import SURE, check_label, decide
from ..doctor import label_of
from ..latent_diffusion import LatentDiffusion

SAYS = {"eps": "the noise (eps)", "v": "the velocity (v)", "x0": "the clean latents (x0)"}


def asked(model: LatentDiffusion) -> dict[str, Any]:
    """What the network predicts, and whether its label says so.

    Raises:
        SettingsError: it needs something that cannot be made up here.
    """
    model.adapt(())  # the model as it is in its file
    verdict = decide(model)
    wrong = check_label(model, verdict)
    sure = verdict.confidence >= SURE
    return {
        "said": f"It predicts {SAYS[verdict.prediction_type]}."
        if sure
        else "What it predicts cannot be told.",
        "confidence": verdict.confidence,
        "sure": sure,
        "scores": [
            {
                "name": SAYS[kind],
                "kind": kind,
                "error": min(error, 1e6),
                "label": kind == model.prediction_type,
            }
            for kind, error in verdict.scores.items()
        ],
        "label": label_of(model.config),
        "wrong": wrong or "",
        "evidence": list(verdict.evidence),
    }
