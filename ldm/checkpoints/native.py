"""Our own checkpoints: one .safetensors file with everything a `LatentDiffusion` needs.

Tensors under this project's names; the config, and a vocabulary that is not CLIP's, as JSON in the metadata.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig
from ..models.tokenizer import Tokenizer
from .files import read_metadata, read_state_dict, write_state_dict
from .report import Checkpoint

CONFIG, TOKENIZER = "ldm_config", "ldm_tokenizer"


def matches(path: Path) -> bool:
    """Whether the metadata has a config of ours."""
    return CONFIG in read_metadata(path)


def read(path: Path) -> Checkpoint:
    """A checkpoint of ours, its tensors mapped.

    Raises:
        CheckpointError: the config or the vocabulary cannot be read.
    """
    tensors, metadata = read_state_dict(path)
    try:
        config = ModelConfig.from_dict(json.loads(metadata[CONFIG]))
        table = json.loads(metadata[TOKENIZER]) if TOKENIZER in metadata else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read. {error}") from error
    if table is not None:
        tokenizer = Tokenizer.from_dict(table)
    elif config.text.tokenizer == "clip":
        tokenizer = Tokenizer.clip(config.text.max_position_embeddings, config.text.pad_token_id)
    else:
        raise CheckpointError(f"{path.name} names a vocabulary of its own but carries none.")
    return Checkpoint(path, config, tokenizer, tensors)


def save(
    model: LatentDiffusion,
    path: str | Path,
    config: ModelConfig | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model as one file, whole or not at all.

    Args:
        config: goes into the file instead of the model's, to name it or to note its training.
        dtype: of all weights with fractions; None keeps the model's.

    Raises:
        CheckpointError: the file cannot be written.
    """
    config = model.config if config is None else config
    tokenizer = model.cond_stage_model.tokenizer
    metadata: dict[str, str] = {}
    if tokenizer.is_clip:
        config = replace(config, text=replace(config.text, tokenizer="clip"))
    else:
        config = replace(config, text=replace(config.text, tokenizer="embedded"))
        metadata[TOKENIZER] = json.dumps(tokenizer.to_dict(), separators=(",", ":"))
    metadata[CONFIG] = json.dumps(config.to_dict())
    tensors = {key: _as(tensor, dtype) for key, tensor in model.state_dict().items()}
    write_state_dict(path, tensors, metadata)


def _as(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
