"""Our own checkpoints: one .safetensors file with everything a `LatentDiffusion` needs.

Tensors under this project's names; the config, and a vocabulary that is not CLIP's, as JSON in the metadata.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.condition_config import OpenCLIPConfig, SDXLTextConfig
from ..models.config import ModelConfig, TextConfig
from ..models.tokenizer import Tokenizer
from ..models.wordpiece import WordPieceTokenizer
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
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read. {error}") from error
    try:
        tokenizer = _tokenizer(config, table, path.name)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path.name} has a vocabulary that cannot be read: {error}.") from error
    except CheckpointError as error:
        if path.name in str(error):
            raise
        raise CheckpointError(f"{path.name} has a vocabulary that cannot be read. {error}") from error
    return Checkpoint(path, config, tokenizer, tensors)


def _tokenizer(config: ModelConfig, table: Any, name: str) -> Any:  # noqa: ANN401 - JSON; one of two kinds
    """The vocabulary that is carried, else CLIP's; None where no words are read, or no vocabulary was known.

    Raises:
        CheckpointError: it is of the model's own, and not there.
    """
    text = config.text
    if isinstance(table, dict) and "pieces" in table:
        return WordPieceTokenizer([str(piece) for piece in table["pieces"]], int(table["length"]))
    if table is not None:
        return Tokenizer.from_dict(table)
    if isinstance(text, SDXLTextConfig):
        return Tokenizer.clip(
            text.openclip.context_length, None if text.clip is None else text.clip.pad_token_id
        )
    if isinstance(text, OpenCLIPConfig):
        return Tokenizer.clip(text.context_length, text.pad_token_id)
    if not isinstance(text, TextConfig):
        return None
    if text.tokenizer != "clip":
        raise CheckpointError(f"{name} names a vocabulary of its own but carries none.")
    return Tokenizer.clip(text.max_position_embeddings, text.pad_token_id)


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
    tokenizer = getattr(model.cond_stage_model, "tokenizer", None)
    metadata: dict[str, str] = {}
    if tokenizer is not None and isinstance(config.text, TextConfig):
        config = replace(
            config, text=replace(config.text, tokenizer="clip" if tokenizer.is_clip else "embedded")
        )
    if isinstance(tokenizer, WordPieceTokenizer):
        table: dict[str, Any] = {"pieces": tokenizer.pieces, "length": tokenizer.length}
        metadata[TOKENIZER] = json.dumps(table, separators=(",", ":"))
    elif tokenizer is not None and not tokenizer.is_clip:
        metadata[TOKENIZER] = json.dumps(tokenizer.to_dict(), separators=(",", ":"))
    metadata[CONFIG] = json.dumps(config.to_dict())
    tensors = {key: _as(tensor, dtype) for key, tensor in model.state_dict().items()}
    write_state_dict(path, tensors, metadata)


def _as(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
