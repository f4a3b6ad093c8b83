"""The small decoder of a model: one .safetensors file of ours beside the model's own.

`<stem>-preview.safetensors` belongs to `<stem>.safetensors` (or `.ckpt` ...).  Its config is JSON in the
metadata, and names the model.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.preview import PreviewConfig, PreviewDecoder
from ..speed import preferred_dtype
from .files import SUFFIXES, read_state_dict, write_state_dict
from .report import load_strict

CONFIG = "ldm_preview_config"
SUFFIX = "-preview.safetensors"


def preview_path(checkpoint: Path) -> Path:
    """Where the small decoder of a checkpoint lies, if there is one."""
    return checkpoint.with_name(checkpoint.stem + SUFFIX)


def is_preview(path: Path) -> bool:
    """Whether a file goes, by its name, with a checkpoint beside it; it is not opened."""
    stem = path.name.removesuffix(SUFFIX)
    return stem != path.name and any(path.with_name(stem + suffix).exists() for suffix in SUFFIXES)


def save_preview(
    decoder: PreviewDecoder, path: str | Path, training: dict[str, Any], *, dtype: torch.dtype | None = None
) -> None:
    """Write a small decoder as one file, whole or not at all.

    Args:
        training: how it was made, for the config.
        dtype: of all weights; None keeps the decoder's.

    Raises:
        CheckpointError: the file cannot be written.
    """
    config = replace(decoder.config, training=training)
    tensors = {key: tensor.to(dtype or tensor.dtype) for key, tensor in decoder.state_dict().items()}
    write_state_dict(path, tensors, {CONFIG: json.dumps(config.to_dict())})


def load_preview(path: str | Path, dtype: torch.dtype | None = None) -> PreviewDecoder:
    """Open a small decoder, for drawing on the CPU.

    Args:
        dtype: of all weights; None is what is fastest here without harm.

    Raises:
        CheckpointError: it is no such file, or not every weight is in it.
    """
    path = Path(path)
    tensors, metadata = read_state_dict(path)
    if CONFIG not in metadata:
        raise CheckpointError(f"{path.name} is no small decoder of this program.")
    try:
        config = PreviewConfig.from_dict(json.loads(metadata[CONFIG]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read. {error}") from error
    with torch.device("meta"):
        decoder = PreviewDecoder(config)
    dtype = preferred_dtype(torch.device("cpu")) if dtype is None else dtype
    load_strict(decoder, tensors, path.name, dtype=dtype)
    decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return decoder.eval().requires_grad_(False)


def add_preview(model: LatentDiffusion, checkpoint: Path) -> None:
    """Have a model draw previews by the small decoder beside its checkpoint, if there is one.

    Raises:
        CheckpointError: the file is damaged, or decodes other latents than the model's.
    """
    path = preview_path(checkpoint)
    if not path.is_file():
        return
    decoder = load_preview(path)
    theirs, ours = decoder.config, (model.latent_channels, model.downsampling_factor)
    if (theirs.latent_channels, theirs.downsampling_factor) != ours:
        raise CheckpointError(
            f"{path.name} belongs to {theirs.model}: it decodes {theirs.latent_channels} latent channels to "
            f"{theirs.downsampling_factor} pixels each, {model.name} has {ours[0]} and {ours[1]}. "
            "Move it away, or give it the name of its own model."
        )
    model.use_small_decoder(decoder)
