"""Files <-> models.  `load` opens a checkpoint of any known kind, `save` writes one of ours.

To read another kind, write a module with `matches(path)` and `read(path)` and add a line to FORMATS.
"""

import os
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..speed import preferred_device, preferred_dtype
from . import compvis, native
from .diffusers_export import convert
from .draft import draft_config, draft_path, is_draft
from .files import SUFFIXES, read_shapes
from .first_stage import is_first_stage, refuse_first_stage
from .native import save
from .preview import add_preview, is_preview
from .report import Checkpoint, Format, load_strict, looks_like

__all__ = ["FORMATS", "add_preview", "convert", "draft_config", "draft_path", "find", "load", "save",
           "weights_folder"]  # fmt: skip

DEFAULT = "default.safetensors"

FORMATS: dict[str, Format] = {
    "native": native,
    "compvis": compvis,
}


def weights_folder() -> Path:
    """Where checkpoints are looked for: what LDM_WEIGHTS names, else `weights/` of the repository."""
    named = Path(os.environ["LDM_WEIGHTS"]) if os.environ.get("LDM_WEIGHTS") else None
    if named is not None:
        return named if named.is_dir() else named.parent
    return Path(__file__).parents[2] / "weights"


def find(folder: str | Path | None = None) -> list[Path]:
    """Files in a folder that may be checkpoints, by name, the one that ships first.

    Args:
        folder: None is `weights_folder()`; one that does not exist is empty.
    """
    folder = weights_folder() if folder is None else Path(folder)
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    shown = (path for path in files if not path.name.startswith(".") and not is_preview(path))
    models = (path for path in shown if not is_first_stage(path) and not is_draft(path))
    return sorted(models, key=lambda path: (path.name != DEFAULT, path.name.lower()))


def load(
    path: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    ema: bool = False,
) -> LatentDiffusion:
    """Open a checkpoint of any kind in `FORMATS`, for drawing: in evaluation mode, without gradients.

    Args:
        path: a file; None is what LDM_WEIGHTS names, else `weights/default.safetensors`.
        device: None is CUDA if it is there, else MPS, else the CPU.
        dtype: of all weights; None is what is fastest on the device without harm.
        ema: take a training file's averaged weights instead of its last ones.

    Raises:
        CheckpointError: there is no such file, or not every weight of a model of a known kind is in it.
    """
    path = find_file(path)
    device = preferred_device() if device is None else torch.device(device)
    checkpoint = read(path)
    if ema:
        compvis.use_ema(checkpoint)
    return build(checkpoint, device, preferred_dtype(device) if dtype is None else dtype)


def find_file(path: str | Path | None) -> Path:
    """The checkpoint that is meant; None is what LDM_WEIGHTS names, else `weights/default.safetensors`.

    Raises:
        CheckpointError: there is no such file.
    """
    path = _default() if path is None else Path(path)
    if not path.exists():
        raise CheckpointError(
            f"There is no checkpoint {path}. "
            "Put one into weights/, or name one with --weights or the variable LDM_WEIGHTS."
        )
    return path


def read(path: Path) -> Checkpoint:
    """A file of any kind in `FORMATS`, its tensors mapped where the file allows it.

    Raises:
        CheckpointError: it is of none.
    """
    refuse_first_stage(path)
    for reader in FORMATS.values():
        if reader.matches(path):
            return reader.read(path)
    raise CheckpointError(
        f"{path.name} looks like {looks_like(read_shapes(path)[0])}; that cannot be loaded. "
        "What can: models of this program, and Stable Diffusion 1 models in one file."
    )


def build(checkpoint: Checkpoint, device: str | torch.device, dtype: torch.dtype | None) -> LatentDiffusion:
    """The model of a checkpoint, whose tensors it takes over.

    Raises:
        CheckpointError: a weight is missing, left over, or of another shape.
    """
    with torch.device("meta"):  # no memory and no time for weights that are replaced at once
        model = LatentDiffusion(
            checkpoint.config, checkpoint.tokenizer, preview="preview.weight" in checkpoint.tensors
        )
    load_strict(
        model,
        checkpoint.tensors,
        checkpoint.path.name,
        leftovers=checkpoint.leftovers,
        device=device,
        dtype=dtype,
    )
    if dtype in (torch.bfloat16, torch.float16):
        # convolutions with the weights laid out as the pictures are: a fifth to a half less time
        for part in (model.model, model.first_stage_model):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval().requires_grad_(False)


def _default() -> Path:
    named = Path(os.environ["LDM_WEIGHTS"]) if os.environ.get("LDM_WEIGHTS") else None
    if named is not None and not named.is_dir():
        return named
    return weights_folder() / DEFAULT
