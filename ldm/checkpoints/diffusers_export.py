"""A model as a folder that diffusers' `StableDiffusionPipeline` opens.

Names are changed by rules, a pattern and its replacement each; numbers of blocks become level and place.
`diffusers_config` makes the folder's JSON files.  Needs no diffusers.
"""

import json
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.config import UNetConfig
from ..models.tokenizer import Tokenizer
from .diffusers_config import (
    autoencoder_config,
    blocks,
    check,
    pipeline_config,
    scheduler_config,
    text_config,
    unet_config,
)
from .files import write_state_dict

Rules = tuple[tuple[str, str], ...]
RESNET: Rules = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
)
UNET: Rules = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    *RESNET,
)
AUTOENCODER: Rules = (
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.attn\.", r"encoder.down_blocks.\1.attentions."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.attn\.", r"decoder.up_blocks.\1.attentions."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)


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
    unet, autoencoder = unet_weights(model), autoencoder_weights(model)
    text = model.cond_stage_model.transformer.state_dict()  # its keys begin with "text_model."
    try:
        part.mkdir(parents=True)
        _write_part(part / "unet", unet_config(config), unet, "diffusion_pytorch_model")
        _write_part(part / "vae", autoencoder_config(config), autoencoder, "diffusion_pytorch_model")
        _write_part(part / "text_encoder", text_config(config.text), text, "model")
        _write_tokenizer(part / "tokenizer", model.cond_stage_model.tokenizer)
        _write_json(part / "scheduler" / "scheduler_config.json", scheduler_config(config))
        _write_json(part / "model_index.json", pipeline_config(config))
        part.replace(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unet_weights(model: LatentDiffusion) -> dict[str, Tensor]:
    """The U-Net's weights under diffusers' names."""
    unet = model.model.diffusion_model
    named = ((_block_name(key, unet.config), tensor) for key, tensor in unet.state_dict().items())
    return {_rename(key, UNET): tensor for key, tensor in named}


def autoencoder_weights(model: LatentDiffusion) -> dict[str, Tensor]:
    """The autoencoder's weights under diffusers' names; attention's 1x1 convolutions become linear."""
    levels = len(model.config.autoencoder.ch_mult)
    weights: dict[str, Tensor] = {}
    for key, tensor in model.first_stage_model.state_dict().items():
        up = re.match(r"decoder\.up\.(\d+)\.", key)
        if up:  # diffusers counts from the coarsest level
            key = f"decoder.up.{levels - 1 - int(up[1])}." + key[up.end() :]
        name = _rename(key, AUTOENCODER)
        weights[name] = tensor[:, :, 0, 0] if re.search(r"\.to_(q|k|v|out\.0)\.weight$", name) else tensor
    return weights


def _rename(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _block_name(key: str, config: UNetConfig) -> str:
    """`input_blocks.7.1.` and the like as level and place: `down_blocks.2.attentions.0.`."""
    found = re.match(r"(input|output)_blocks\.(\d+)\.(\d+)\.", key)
    if found is None or found[0].startswith("input_blocks.0."):
        return key
    rest, part = key[found.end() :], int(found[3])
    down = found[1] == "input"
    sizes = blocks(config) if down else [count + 1 for count in reversed(blocks(config))]
    level, place = 0, int(found[2]) - (1 if down else 0)
    while place >= sizes[level] + (1 if down else 0):  # on the way down, one more that halves
        place -= sizes[level] + (1 if down else 0)
        level += 1
    block = f"{'down' if down else 'up'}_blocks.{level}."
    if down and place == sizes[level]:
        return f"{block}downsamplers.0.conv." + rest.removeprefix("op.")
    if part == 0:
        return f"{block}resnets.{place}.{rest}"
    is_upsampler = rest.startswith("conv.")
    return f"{block}upsamplers.0.{rest}" if is_upsampler else f"{block}attentions.{place}.{rest}"


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
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
