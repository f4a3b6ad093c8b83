"""First stages alone: finding them, saying what they are, opening them, and writing ours.

Ours is one .safetensors file under CompVis's names with the config as JSON in the metadata, under a name of
its own: what reads whole models does not take such a file for one.  Others' are `first_stage_layouts`.
"""

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..first_stage import FirstStage
from ..latent_diffusion import LatentDiffusion
from ..models.build import build_first_stage
from ..models.first_stage_config import FirstStageConfig
from ..speed import preferred_device, preferred_dtype
from .files import SUFFIXES, read_metadata, read_shapes, read_state_dict, write_state_dict
from .first_stage_layouts import WHOLE, Found, file_of, recognise
from .report import load_strict, looks_like

KIND = "ldm_first_stage"  # of the metadata; its value is the config


def is_first_stage(path: Path) -> bool:
    """Whether a file or folder is a first stage alone; False for one that cannot be read.

    Of a .safetensors file only the header is read, and each file is looked at once.
    """
    try:
        return _is_ours(path) or _recognised(path) is not None
    except (CheckpointError, OSError):
        return False


def find_first_stages(folder: Path) -> list[Path]:
    """The first stages in a folder that can make a round trip, by name; none if it does not exist.

    Files; folders of diffusers; and folders that hold one of the paper's as `model.ckpt`.
    """
    if not folder.is_dir():
        return []
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = (path for path in shown if path.is_file() and path.suffix.lower() in SUFFIXES)
    folders = (path for path in shown if path.is_dir())
    found = [path for path in (*files, *folders) if is_first_stage(path) and _goes_both_ways(path)]
    return sorted(found, key=lambda path: path.name.lower())


def refuse_first_stage(path: Path) -> None:
    """Raise CheckpointError if a file that should hold a whole model is a first stage alone."""
    if is_first_stage(path):
        raise CheckpointError(
            f"{path.name} is a first stage alone, {read_config(path).noun}: it sends pictures there and back "
            "and cannot draw. Choose it on the tab Round trip, or name it to `python -m ldm roundtrip "
            "--weights`."
        )


def read_config(path: Path) -> FirstStageConfig:
    """What a first stage is; its weights are not read.

    Raises:
        CheckpointError: it is none, or its config cannot be read.
    """
    return _found(path).config


def load_first_stage(
    path: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> FirstStage:
    """Open a first stage of any layout: in evaluation mode, without gradients.

    Args:
        device: None is CUDA if it is there, else MPS, else the CPU.
        dtype: of all weights; None is what is fastest on the device without harm, never float16, in which
            Stable Diffusion XL's overflows.

    Raises:
        CheckpointError: it is none, or not every weight is in it.
    """
    path = Path(path)
    device = preferred_device() if device is None else torch.device(device)
    if dtype is None:
        dtype = preferred_dtype(device)
        dtype = torch.float32 if dtype == torch.float16 else dtype
    found = _found(path)
    try:
        with torch.device("meta"):  # no memory and no time for weights that are replaced at once
            net = build_first_stage(found.config.autoencoder)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{path.name} has sizes that no network can have: {error}.") from error
    load_strict(net, found.tensors(), path.name, leftovers=found.leftovers, device=device, dtype=dtype)
    if dtype in (torch.bfloat16, torch.float16):
        net.to(memory_format=torch.channels_last)
    return FirstStage(found.config, net.eval().requires_grad_(False))


def use_first_stage(model: LatentDiffusion, stage: FirstStage) -> None:
    """Have a model encode and decode with another first stage, of the same latents.

    Raises:
        CheckpointError: its latents have other channels, another size or another scale.
    """
    theirs = (stage.latent_channels, stage.downsampling_factor)
    ours = (model.latent_channels, model.downsampling_factor)
    if theirs != ours:
        raise CheckpointError(
            f"{stage.name} has {theirs[0]} latent channels of {theirs[1]} pixels a side, "
            f"{model.name} has {ours[0]} of {ours[1]}; their latents are not the same."
        )
    if stage.latent_scaling_factor != model.latent_scaling_factor:
        raise CheckpointError(
            f"{stage.name} scales its latents by {stage.latent_scaling_factor:g}, {model.name} by "
            f"{model.latent_scaling_factor:g}; their latents are not the same. {stage.config.note}".strip()
        )
    model.first_stage_model = stage.first_stage_model.to(model.device)
    model.config = replace(model.config, autoencoder=stage.config.autoencoder)


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
    config = replace(config or stage.config, autoencoder=stage.config.autoencoder)
    weights = stage.first_stage_model.state_dict()
    tensors = {key: tensor.to(dtype or tensor.dtype) for key, tensor in weights.items()}
    write_state_dict(path, tensors, {KIND: json.dumps(config.to_dict())})


def _found(path: Path) -> Found:
    """What a file or folder is, ours or another's.

    Raises:
        CheckpointError: it is no first stage, or cannot be read.
    """
    if _is_ours(path):
        return Found(_own_config(path), lambda: read_state_dict(path)[0])
    found = _recognised(path)
    if found is None:
        if path.is_dir():
            raise CheckpointError(f"{path.name} is a folder without a first stage.")
        names = read_shapes(path)[0]
        is_whole = any(name.startswith(WHOLE) for name in names)
        raise CheckpointError(
            f"{path.name} is no first stage alone; it "
            f"{'is a whole model' if is_whole else f'looks like {looks_like(names)}'}."
        )
    return found


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" and not path.is_dir() and KIND in read_metadata(path)


def _own_config(path: Path) -> FirstStageConfig:
    try:
        return FirstStageConfig.from_dict(json.loads(read_metadata(path)[KIND]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a config that cannot be read. {error}") from error


def _recognised(path: Path) -> Found | None:
    """As `recognise`, remembered until the file or what lies beside it changes."""
    file = (file_of(path) or path) if path.is_dir() else path
    try:
        times = (file.stat().st_mtime_ns, file.stat().st_size, file.parent.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {path.name}.") from error
    return _remembered(file, times) if file.is_file() else None


@lru_cache(maxsize=512)
def _remembered(path: Path, times: tuple[int, ...]) -> Found | None:
    return recognise(path)


def _goes_both_ways(path: Path) -> bool:
    """Whether it encodes and decodes; of TAESD's pair the decoder stands for both."""
    try:
        sizes = read_config(path).autoencoder
    except CheckpointError:  # said when it is chosen
        return True
    if sizes.kind != "taesd":
        return True
    both = getattr(sizes, "has_encoder", True) and getattr(sizes, "has_decoder", True)
    return bool(both) and not (path.is_file() and "encoder" in path.stem and "decoder" not in path.stem)
