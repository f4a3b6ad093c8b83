"""Which checkpoint to open."""

import os
from pathlib import Path

from .. import checkpoints
from ..errors import CheckpointError


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
