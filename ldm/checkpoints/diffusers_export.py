"""A model as a folder that a pipeline of diffusers opens: Stable Diffusion 1, 2 and XL, unconditional models.

`diffusers_config` makes the folder's JSON files, `diffusers_tables` says what each weight is called there.
Needs no diffusers.
"""

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig, TextConfig
from ..models.tokenizer import Tokenizer
from .diffusers_config import (
    autoencoder_config,
    openclip_text_config,
    scheduler_config,
    text_config,
    unet_config,
)
from .diffusers_families import check, pipeline_config, stage_name, text_towers
from .diffusers_names import to_theirs
from .diffusers_tables import tables, tower_config, used_layers
from .files import write_state_dict


def convert(model: LatentDiffusion, folder: str | Path) -> None:
    """Write a model as a folder of diffusers, whole or not at all.

    Args:
        folder: must not exist yet, or be empty.

    Raises:
        CheckpointError: diffusers has no such network, the folder is in use, or it cannot be written.
    """
    folder = Path(folder)
    config = model.config
    check(config)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists already; name a folder that does not, or is empty.")
    part = folder.with_name(f".{secrets.token_hex(8)}.part")
    weights = part_weights(model)
    sizes = {"unet": unet_config(config), stage_name(config): autoencoder_config(config)}
    try:
        part.mkdir(parents=True)
        for name, prefix in text_towers(config).items():
            tokenizer = _tower(model, prefix).tokenizer
            sizes[name] = _text_config(config, prefix, tokenizer)
            write_tokenizer(part / name.replace("text_encoder", "tokenizer"), tokenizer)
        for name, values in sizes.items():
            file = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
            _write_part(part / name, values, weights[name], file)
        _write_scheduler(part / "scheduler", scheduler_config(config))
        if config.picture == "upscale":
            plain = scheduler_config(config) | {"_class_name": "DDPMScheduler", "prediction_type": "epsilon"}
            _write_scheduler(part / "low_res_scheduler", plain)
        _write_json(part / "model_index.json", pipeline_config(config))
        part.replace(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def part_weights(model: LatentDiffusion) -> dict[str, dict[str, Tensor]]:
    """Part of the folder -> its weights under diffusers' names.

    Raises:
        CheckpointError: a network is of a kind that diffusers has not.
    """
    config, state = model.config, model.state_dict()
    found = tables(config, state, text_towers(config), stage_name(config))
    return {name: to_theirs(table, state) for name, table in found.items()}


def unet_weights(model: LatentDiffusion) -> dict[str, Tensor]:
    """The U-Net's weights under diffusers' names."""
    return part_weights(model)["unet"]


def autoencoder_weights(model: LatentDiffusion) -> dict[str, Tensor]:
    """The autoencoder's weights under diffusers' names; attention's 1x1 convolutions become linear."""
    return part_weights(model)[stage_name(model.config)]


def _tower(model: LatentDiffusion, prefix: str) -> Any:  # noqa: ANN401 - one of two text encoders
    return model.cond_stage_model.get_submodule(prefix.rstrip(".")) if prefix else model.cond_stage_model


def _text_config(config: ModelConfig, prefix: str, tokenizer: Tokenizer) -> dict[str, Any]:
    text = tower_config(config, prefix)
    layers = used_layers(text, alone=text is config.text)
    if isinstance(text, TextConfig):
        return text_config(replace(text, num_hidden_layers=layers))
    # a Stable Diffusion 2 file may carry the projection; nothing reads it
    projects = text.has_projection and text is not config.text
    written = replace(text, layers=layers, has_projection=projects)
    return openclip_text_config(written, tokenizer.bos, tokenizer.eos)


def _write_scheduler(folder: Path, values: Mapping[str, Any]) -> None:
    _write_json(folder / "scheduler_config.json", values)


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """A vocabulary as a tokenizer folder of transformers."""
    marks = {
        "bos_token": tokenizer.string(tokenizer.bos),
        "eos_token": tokenizer.string(tokenizer.eos),
        "unk_token": tokenizer.string(tokenizer.eos),
        "pad_token": tokenizer.string(tokenizer.pad),
    }
    _write_json(folder / "vocab.json", tokenizer.vocab)
    merges = "\n".join(["#version: 0.2", *map(" ".join, tokenizer.merges)]) + "\n"
    (folder / "merges.txt").write_text(merges, "utf-8")
    _write_json(folder / "special_tokens_map.json", marks)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.length, **marks}
    _write_json(folder / "tokenizer_config.json", settings)


def _write_part(folder: Path, config: dict[str, Any], weights: Mapping[str, Tensor], name: str) -> None:
    _write_json(folder / "config.json", config)
    write_state_dict(folder / f"{name}.safetensors", weights, {})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
