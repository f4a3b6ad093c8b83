"""Which checkpoint to open, and opening it."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import checkpoints
from ..errors import CheckpointError, LdmError, check_choice
from ..latent_diffusion import LatentDiffusion
from ..lora.adapter import Adapter, find_loras
from ..textual_inversion import apply_embedding, is_embedding
from .opening import Opened

log = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_model(
    weights: Path | None, folder: Path | None, device: str | None, wanted: Opened | None = None
) -> LatentDiffusion:
    """The model, ready to draw, with the small decoder that lies beside its file.

    Args:
        wanted: how to open it; None is as usual.

    Raises:
        CheckpointError: no checkpoint, or not one this program can read; or the small decoder is another's.
        LdmError: there is no such device.
    """
    try:
        path = weights or choose(folder)
        model = checkpoints.load(path, device, **({} if wanted is None else _options(wanted)))
    except (RuntimeError, AssertionError) as error:  # what torch says of a device depends on its build
        if device is None:
            raise
        raise LdmError(f"Device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    if model.preview is not None:
        model.preview.to("cpu")  # where steps are kept: a page's previews must not wait for the device
    checkpoints.add_preview(model, path)
    equip(model, folder or checkpoints.weights_folder())
    return model


def equip(model: LatentDiffusion, folder: Path) -> None:
    """Let runs of a model use the LoRAs in a folder, and teach it the words of the embeddings there.

    What is for another family stays where it is; the tab Model says so.
    """
    model.adapter = Adapter(model, partial(find_loras, folder))
    for path in embeddings(folder):
        try:
            apply_embedding(model, path)
        except CheckpointError as error:
            log.info("%s", error)


def embeddings(folder: Path) -> list[Path]:
    """Textual inversions in a folder and in its folder `embeddings`, by name."""
    places = [place for place in (folder, folder / "embeddings") if place.is_dir()]
    return sorted(path for place in places for path in place.iterdir() if is_embedding(path))


def _options(wanted: Opened) -> dict[str, Any]:
    """Arguments of `checkpoints.load`.

    Raises:
        LdmError: torch has no such type.
    """
    if wanted.dtype is not None:
        check_choice("dtype", wanted.dtype, DTYPES)
    return {
        "ema": wanted.ema,
        "vae": wanted.vae,
        "dtype": None if wanted.dtype is None else DTYPES[wanted.dtype],
    }


def choose(folder: Path | None = None) -> Path:
    """The checkpoint to open when none is named.

    Raises:
        CheckpointError: the folder holds none.
    """
    named = os.environ.get("LDM_WEIGHTS")
    if folder is None and named and not Path(named).is_dir():
        return Path(named)
    found = checkpoints.find(folder)
    if not found:
        raise CheckpointError(
            f"There is no checkpoint in {folder or checkpoints.weights_folder()}. "
            "Put one there, name one with --weights, or train one: make train."
        )
    return found[0]
