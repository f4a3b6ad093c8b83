"""The small decoder of a model: one .safetensors file of ours beside the model's own, or TAESD.

`<stem>-preview.safetensors` belongs to `<stem>.safetensors` (or `.ckpt` ...).  Its config is JSON in the
metadata, and names the model.  TAESD decodes the latents of every Stable Diffusion 1 and 2, TAESDXL those of
XL; one of them in the same folder serves all such models there.
"""

import json
import logging
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.autoencoder_config import AutoencoderConfig
from ..models.preview import PreviewConfig, PreviewDecoder
from ..models.tiny import TinyAutoencoder
from ..speed import preferred_dtype
from .files import SUFFIXES, read_state_dict, write_state_dict
from .first_stage import is_first_stage, load_first_stage, read_config
from .report import load_strict

CONFIG = "ldm_preview_config"
SUFFIX = "-preview.safetensors"
TINY: dict[float, str] = {  # latent_scaling_factor of a model -> what the name of its TAESD begins with
    0.18215: "taesd",
    0.13025: "taesdxl",
}
OTHERS = ("taesdxl", "taesd3")  # begin with "taesd" too, and speak other latents
log = logging.getLogger(__name__)


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
    """Have a model draw previews by the small decoder beside its checkpoint, or by a TAESD, if there is one.

    A TAESD that cannot be read is passed by, with a warning: it belongs to no model in particular.

    Raises:
        CheckpointError: the model's own file is damaged, or decodes other latents than the model's.
    """
    path = preview_path(checkpoint)
    if not path.is_file():
        tiny = load_tiny(model, checkpoint.parent)
        if tiny is not None:
            model.use_small_decoder(tiny)
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


def load_tiny(model: LatentDiffusion, folder: Path) -> TinyAutoencoder | None:
    """The TAESD in a folder that decodes a model's latents; None if there is none that can be read."""
    sizes, scale = model.config.autoencoder, model.latent_scaling_factor
    begins = next((words for factor, words in TINY.items() if isclose(factor, scale, rel_tol=1e-3)), None)
    if begins is None or not isinstance(sizes, AutoencoderConfig):
        return None
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        others = tuple(other for other in OTHERS if other != begins)
        if not name.startswith(begins) or name.startswith(others):
            continue
        try:
            if not is_first_stage(path):
                continue
            theirs = read_config(path).autoencoder
            fits = (theirs.embed_dim, theirs.downsampling_factor) == (
                sizes.embed_dim,
                sizes.downsampling_factor,
            )
            if theirs.kind == "taesd" and fits and getattr(theirs, "has_decoder", False):
                net: TinyAutoencoder = load_first_stage(path, "cpu").first_stage_model
                return net
        except CheckpointError as error:
            log.warning("No previews by %s: %s", path.name, error)
    return None
