"""Which checkpoint to open, and opening it."""

import os
from pathlib import Path

from .. import checkpoints
from ..errors import CheckpointError, LdmError
from ..latent_diffusion import LatentDiffusion


def open_model(weights: Path | None, folder: Path | None, device: str | None) -> LatentDiffusion:
    """The model, ready to draw, with the small decoder that lies beside its file.

    Raises:
        CheckpointError: no checkpoint, or not one this program can read; or the small decoder is another's.
        LdmError: there is no such device.
    """
    try:
        path = weights or choose(folder)
        model = checkpoints.load(path, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch says of a device depends on its build
        if device is None:
            raise
        raise LdmError(f"Device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    if model.preview is not None:
        model.preview.to("cpu")  # where steps are kept: a page's previews must not wait for the device
    checkpoints.add_preview(model, path)
    return model


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
