"""Numbers per step, ready to plot."""

from torch import Tensor

from ..trace import Trace
from .predictions import check_picture


def curves(trace: Trace, picture: int | None = None) -> dict[str, list[float]]:
    """Columns of equal length, one row per step.

    Args:
        picture: which one of the batch; None is all of them together.

    Returns:
        step: 0 is the noisiest.
        timestep: what the network was told.
        sigma: noise level going in.
        latent_std: standard deviation of the latents as the network sees them; about 1 all along.
        x0_std: the same of the predicted clean latents; above 1 where guidance over-saturates.
        x0_change: mean |x0 - previous x0|, how much the prediction still moves; 0 on the first step.
        relative_change: that, as a share of mean |x0|.
        guidance: mean |x0_cond - x0_uncond|, how much the prompt moves the prediction; 0 without guidance.
        guidance_norm: Euclidean norm of x0_cond - x0_uncond; 0 without guidance.
        cosine: between what is predicted as noise with and without the prompt; 1 without guidance.
        saturation: x0_std as a share of the standard deviation of the clean latents that the run ended with.

    Raises:
        SettingsError: the batch has no such picture.
    """
    if picture is not None:
        check_picture(trace, picture)
    which = slice(None) if picture is None else picture
    rows = [_row(trace, k, which) for k in range(len(trace.steps))]
    end = _end_std(trace, which)
    for row in rows:
        row["saturation"] = row["x0_std"] / max(end, 1e-12)
    return {name: [row[name] for row in rows] for name in COLUMNS}


def _end_std(trace: Trace, which: slice | int) -> float:
    """Standard deviation of the clean latents at the end; a run that was stopped has those predicted last."""
    if not trace.steps:
        return 0.0
    last = trace.steps[-1]
    latents = last.x_next if last.sigma_next == 0 else last.prediction.x0
    return float(latents[which].double().std(correction=0))


def _row(trace: Trace, k: int, which: slice | int) -> dict[str, float]:
    step = trace.steps[k]
    x, x0, cond = (t[which].double() for t in (step.x, step.prediction.x0, step.prediction.x0_cond))
    before = trace.steps[max(0, k - 1)].prediction.x0[which].double()
    change = _mean(x0 - before)
    row = {
        "step": float(step.index),
        "timestep": step.timestep,
        "sigma": step.sigma,
        "latent_std": float((x / (1 + step.sigma**2) ** 0.5).std(correction=0)),
        "x0_std": float(x0.std(correction=0)),
        "x0_change": change,
        "relative_change": change / max(_mean(x0), 1e-12),
        "guidance": 0.0,
        "guidance_norm": 0.0,
        "cosine": 1.0,
    }
    if step.prediction.x0_uncond is not None:
        uncond = step.prediction.x0_uncond[which].double()
        asked = x if step.x_asked is None else step.x_asked[which].double()
        a, b = (asked - cond).flatten(), (asked - uncond).flatten()  # noise, but for the factor 1 / sigma
        row["guidance"] = _mean(cond - uncond)
        row["guidance_norm"] = float((cond - uncond).norm())
        row["cosine"] = float(a @ b / (a.norm() * b.norm()).clamp(min=1e-12))
    return row


def _mean(x: Tensor) -> float:
    return float(x.abs().mean())


COLUMNS = (
    "step",
    "timestep",
    "sigma",
    "latent_std",
    "x0_std",
    "x0_change",
    "relative_change",
    "guidance",
    "guidance_norm",
    "cosine",
    "saturation",
)
