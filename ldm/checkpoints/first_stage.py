"""First stages alone: one .safetensors file of ours with a VQ autoencoder under CompVis's names.

The config is JSON in the metadata, under a name of its own: what reads whole models does not take such a file
for one.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..first_stage import FirstStage
from ..models.vq import FirstStageConfig, VQModel
from ..speed import preferred_device, preferred_dtype
from .files import read_metadata, read_state_dict, write_state_dict
from .report import load_strict

KIND = "ldm_first_stage"  # of the metadata; its value is the config


def is_first_stage(path: Path) -> bool:
    """Whether a file is a first stage alone; False for one that cannot be read."""
    try:
        return path.suffix.lower() == ".safetensors" and KIND in read_metadata(path)
    except CheckpointError:
        return False


def find_first_stages(folder: Path) -> list[Path]:
    """The first stages in a folder, by name; none if it does not exist."""
    if not folder.is_dir():
        return []
    shown = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted((path for path in shown if is_first_stage(path)), key=lambda path: path.name.lower())


def refuse_first_stage(path: Path) -> None:
    """Raise CheckpointError if a file that should hold a whole model is a first stage alone."""
    if is_first_stage(path):
        raise CheckpointError(
            f"{path.name} is a first stage alone, a VQ autoencoder: it sends pictures there and back and "
            "cannot draw. Choose it on the tab Round trip, or name it to `python -m ldm roundtrip --weights`."
        )


def read_config(path: Path) -> FirstStageConfig:
    """What a first stage is; its weights are not read.

    Raises:
        CheckpointError: it is none, or its config cannot be read.
    """
    metadata = read_metadata(path)
    if KIND not in metadata:
        raise CheckpointError(f"{path.name} is no first stage of this program.")
    try:
        return FirstStageConfig.from_dict(json.loads(metadata[KIND]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read. {error}") from error


def load_first_stage(
    path: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> FirstStage:
    """Open a first stage: in evaluation mode, without gradients.

    Args:
        device: None is CUDA if it is there, else MPS, else the CPU.
        dtype: of all weights; None is what is fastest on the device without harm.

    Raises:
        CheckpointError: it is none, or not every weight is in it.
    """
    path = Path(path)
    device = preferred_device() if device is None else torch.device(device)
    dtype = preferred_dtype(device) if dtype is None else dtype
    config = read_config(path)
    try:
        with torch.device("meta"):  # no memory and no time for weights that are replaced at once
            net = VQModel(config.vq)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{path.name} has sizes that no network can have: {error}.") from error
    load_strict(net, read_state_dict(path)[0], path.name, device=device, dtype=dtype)
    if dtype in (torch.bfloat16, torch.float16):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FirstStage(config, net.eval().requires_grad_(False))


def save_first_stage(
    stage: FirstStage,
    path: str | Path,
    config: FirstStageConfig | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a first stage as one file, whole or not at all.

    Args:
        config: goes into the file instead of the stage's, to name it or to note its training.
        dtype: of all weights; None keeps the stage's.

    Raises:
        CheckpointError: the file cannot be written.
    """
    config = replace(config or stage.config, vq=stage.config.vq)
    weights = stage.first_stage_model.state_dict()
    tensors = {key: tensor.to(dtype or tensor.dtype) for key, tensor in weights.items()}
    write_state_dict(path, tensors, {KIND: json.dumps(config.to_dict())})
