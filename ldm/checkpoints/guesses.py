"""What nothing tells of a model: which fields of its config are guesses, and in what words."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..models.config import ModelConfig, UNetConfig
from .compvis_schedule import has_schedule
from .compvis_yaml import says_heads, says_schedule
from .families import family_of
from .infer import is_open

HEADS, SCHEDULE, SCALE, PREDICTION = "unet.num_heads", "schedule", "latent_scaling_factor", "prediction_type"


def guessed(
    config: ModelConfig, params: Mapping[str, Any], names: Mapping[str, object], prediction: str | None
) -> tuple[str, ...]:
    """The fields of the config of a CompVis file that nothing tells.

    Args:
        params: what the YAML file beside it says.
        names: of its tensors.
        prediction: what is said that it predicts; None if nothing says it.
    """
    found = (PREDICTION,) if prediction is None and is_open(config) else ()
    if family_of(config) != "compvis":  # of all others much is known
        return found
    told = {
        HEADS: says_heads(params),
        SCHEDULE: says_schedule(params) or has_schedule(names),
        SCALE: "scale_factor" in params or "scale_factor" in names or config.autoencoder.kind == "identity",
    }
    return found + tuple(name for name, is_told in told.items() if not is_told)


def guesses_in_words(config: ModelConfig, names: Iterable[str]) -> tuple[str, ...]:
    """The same as evidence, one phrase for each; fields without one are left out."""
    unet, schedule = config.unet, config.schedule
    heads = "unknown"
    if isinstance(unet, UNetConfig):
        few = unet.num_head_channels == -1
        heads = f"{unet.num_heads}" if few else f"as many as give {unet.num_head_channels} channels each"
    words = {
        PREDICTION: "whether it predicts noise or v stands in no name: that shows in what it does",
        HEADS: f"how many heads its attention has stands in no shape: taken to be {heads}",
        SCHEDULE: "what it was trained on as noise levels stands nowhere: taken to be "
        f"{schedule.betas} from {schedule.linear_start:g} to {schedule.linear_end:g}",
        SCALE: f"how its latents are scaled stands nowhere: taken to be {config.latent_scaling_factor:g}",
    }
    return tuple(words[name] for name in names if name in words)
