"""A model without its weights: its networks on the meta device, which take no memory."""

from typing import Any

import torch

from ..errors import CheckpointError, SettingsError
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig

SHOWN = 120  # characters of what torch says


def plan(config: ModelConfig, tokenizer: Any, name: str, *, preview: bool = False) -> LatentDiffusion:  # noqa: ANN401
    """The model of a config, all its weights still to come.

    Args:
        tokenizer: as `LatentDiffusion`.
        name: of the file, for messages.
        preview: whether it has the linear map of that name.

    Raises:
        CheckpointError: no network can be built by these numbers.
    """
    try:
        with torch.device("meta"):
            return LatentDiffusion(config, tokenizer, preview=preview)
    except (
        *(ValueError, TypeError, RuntimeError, ArithmeticError, AttributeError, LookupError, AssertionError),
        *(SettingsError, MemoryError),
    ) as error:
        said = " ".join(str(error).split())[:SHOWN].rstrip(". ")
        raise CheckpointError(f"{name} has sizes that no network can have: {said}.") from error
