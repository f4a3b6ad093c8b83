"""The YAML file that a network of the study was trained with, wherever its repository or its owner put it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .study_sizes import section
from .yaml_files import read_yaml

SUFFIXES = (".yaml", ".yml")
CKPT_NAMES = ("ldm_ckpt_name", "vqvae_autoencoder_ckpt_name", "vae_autoencoder_ckpt_name")


def find_yaml(path: Path, told: Mapping[str, Any]) -> dict[str, Any] | None:
    """The study's YAML of a file: `<name>.yaml`, one in its folder, or one in `config/` beside its folder.

    Of several, the first that names the file among its checkpoints, else the first by name; only those of
    this folder where none names it.

    Args:
        told: what the file's own shapes tell, of a U-Net or an autoencoder (`study_sizes`); a YAML that says
            otherwise is of another network.

    Returns:
        What it holds; None if there is none.

    Raises:
        CheckpointError: `<name>.yaml` is of another network, or cannot be read.
    """
    for suffix in SUFFIXES:
        own = path.with_suffix(suffix)
        if own.is_file():
            content = read_yaml(own)
            if not isinstance(content, dict):
                raise CheckpointError(f"{own.name} beside {path.name} is no readable YAML file.")
            if not _fits(content, told):
                raise CheckpointError(f"{own.name} is the YAML file of another network than {path.name}.")
            return content
    here = _all(path.parent, told)
    beside = _all(path.parent.parent / "config", told)
    named = [content for content in here if _names(content, path.name)]
    task = [
        content
        for content in beside
        if _names(content, path.name)
        and section(content, "train_params").get("task_name") == path.parent.name
    ]
    return next(iter((*named, *task, *here)), None)


def _all(folder: Path, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the YAML files of a folder hold, of those that fit."""
    if not folder.is_dir():
        return []
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    contents = (_read(file) for file in files)
    return [content for content in contents if content is not None and _fits(content, told)]


def _read(path: Path) -> dict[str, Any] | None:
    """What a YAML file holds; None if it is none, or nothing with names."""
    try:
        content = read_yaml(path)
    except CheckpointError:
        return None
    return content if isinstance(content, dict) else None


def _names(content: Mapping[str, Any], name: str) -> bool:
    params = section(content, "train_params")
    return name in (params.get(key) for key in CKPT_NAMES)


def _fits(content: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether the YAML describes a network of these sizes."""
    if "z_channels" in told:
        params = section(content, "autoencoder_params")
        same = params.get("z_channels") == told["z_channels"]
    else:
        params = section(content, "ldm_params")
        sizes = {"text": told["text_dim"], "class": told["n_classes"], "image": told["mask_channels"]}
        kinds = _list(section(params, "condition_config"), "condition_types")
        same = _same_words({kind for kind, size in sizes.items() if size is not None}, kinds)
    return same and _list(params, "down_channels") == list(told["down_channels"])


def _same_words(words: set[str], told: list[Any]) -> bool:
    """Whether a list is of these words; what is no word is never written out: it may be endless."""
    return all(isinstance(one, str) for one in told) and set(told) == words


def _list(params: Mapping[str, Any], name: str) -> list[Any]:
    value = params.get(name)
    return value if isinstance(value, list) else []
