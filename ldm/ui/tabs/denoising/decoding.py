"""Every step through the autoencoder: slow, so it is told of while it goes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from ....engine import Engine
from ....errors import SettingsError
from ....latent_diffusion import LatentDiffusion
from ....trace import Trace
from ....views.predictions import LANES, Decode
from ...events import visitor
from ...scrubber import Shown
from .progress import report


def decoder(engine: Engine) -> Decode:
    """The autoencoder, a few latents at a time through the queue: others get their turn between."""
    asks, tell = visitor(), report.get()

    def decode(latents: Tensor) -> Tensor:
        tell(0)  # whether anybody still waits
        made = engine.call(partial(decode_latents, latents=latents), asks)
        tell(len(latents))
        return made

    return decode


def decode_latents(model: LatentDiffusion, latents: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 3, h, w) on the CPU, as the engine calls it."""
    return model.autoencoder_decode(latents).float().cpu()


def check_fits(model: LatentDiffusion, trace: Trace) -> None:
    """Refuse a run of a model with other latents: this one cannot decode them.

    Raises:
        SettingsError: names both models and their channels.
    """
    channels = trace.steps[0].x.shape[1] if trace.steps else model.latent_channels
    if channels != model.latent_channels:
        raise SettingsError(
            f"This run was made by {trace.model_name} with {channels} latent channels; "
            f"{model.name} has {model.latent_channels} and cannot decode it."
        )


def progress_value(shown: Shown, traces: Sequence[Trace], done: int) -> dict[str, Any]:
    """The player's value while every step is decoded; what it shows stays.

    Args:
        traces: all that is drawn.
        done: latents decoded so far.
    """
    total = max(1, sum(map(decodes, traces)))
    line = f"Decoded {min(done, total)} of {total} pictures with the autoencoder."
    live = {"key": f"{shown.key} exact", "line": line, "fraction": min(1.0, done / total), "frames": []}
    return {"keep": True, "live": live}


def decodes(trace: Trace) -> int:
    """How many latents of a run are to be decoded."""
    lanes = sum(not how.startswith("not decoded") for _, how in LANES.values())
    if not any(step.prediction.x0_uncond is not None for step in trace.steps):
        lanes -= 1
    return lanes * len(trace.steps)
