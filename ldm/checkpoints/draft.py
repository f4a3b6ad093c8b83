"""The draft of a model: a checkpoint of ours beside the model's own that draws in a few steps.

`<stem>-draft.safetensors` belongs to `<stem>.safetensors` (or `.ckpt` ...).  What it was distilled for stands
in its config, as what it recommends.
"""

from pathlib import Path

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig
from . import native
from .files import SUFFIXES

SUFFIX = "-draft.safetensors"
MOST_STEPS = 8  # that a draft draws in


def draft_path(checkpoint: Path) -> Path:
    """Where the draft of a checkpoint lies, if there is one."""
    return checkpoint.with_name(checkpoint.stem + SUFFIX)


def is_draft(path: Path) -> bool:
    """Whether a file goes, by its name, with a checkpoint beside it; it is not opened."""
    stem = path.name.removesuffix(SUFFIX)
    return stem != path.name and any(path.with_name(stem + suffix).exists() for suffix in SUFFIXES)


def draft_config(model: LatentDiffusion, checkpoint: Path) -> ModelConfig | None:
    """What the draft beside a model's checkpoint is; None where there is none.

    Raises:
        CheckpointError: the file is damaged, is no checkpoint of ours, needs more than a few steps, or draws
            other latents or sizes.
    """
    path = draft_path(checkpoint)
    if not path.is_file():
        return None
    if not native.matches(path):
        raise CheckpointError(f"{path.name} is no model of this program; a draft must be one.")
    config = native.read(path).config
    if config.recommended.steps > MOST_STEPS:
        raise CheckpointError(
            f"{path.name} recommends {config.recommended.steps} steps; a draft draws in 1 to {MOST_STEPS}."
        )
    for what, theirs, ours in (
        ("latent channels", config.autoencoder.embed_dim, model.config.autoencoder.embed_dim),
        ("pixels to a latent", config.autoencoder.downsampling_factor, model.downsampling_factor),
        ("pixels that sizes are multiples of", config.size_multiple, model.config.size_multiple),
    ):
        if theirs != ours:
            raise CheckpointError(
                f"{path.name} has {theirs} {what}, {model.name} has {ours}. "
                "Move it away, or give it the name of its own model."
            )
    return config
