"""Single files in CompVis's layout: Stable Diffusion 1 and what was made from it.

Names here are CompVis's, so nothing is renamed.  Sizes come from names and shapes (`infer`); what those
cannot tell comes from a CompVis YAML file beside the checkpoint (`<name>.yaml` or `config.yaml`), else it is
Stable Diffusion's.  Nothing in a YAML file is imported or run.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.schedule import BETAS, build_schedule
from ..errors import CheckpointError
from ..models.config import ModelConfig, RecommendedSettings, ScheduleConfig, TextConfig
from ..models.tokenizer import Tokenizer
from .files import read_shapes, read_state_dict
from .infer import CLIP_SIZE, FIRST_STAGE, TEXT, UNET, infer_config
from .report import Checkpoint

NEEDED = (
    UNET + "input_blocks.0.0.weight",
    FIRST_STAGE + "quant_conv.weight",
    TEXT + "final_layer_norm.weight",
)
# of a CLIP that was saved without its outer module; later versions of transformers do that
RENAMED = {
    f"cond_stage_model.transformer.{part}.": f"{TEXT}{part}." for part in ("embeddings", "encoder")
} | {"cond_stage_model.transformer.final_layer_norm.": f"{TEXT}final_layer_norm."}
LEFTOVERS = (
    *("betas", "beta", "alpha_bar", "alphas_cumprod*", "*sqrt_*", "log_one_minus_alphas_cumprod"),
    *("posterior_*", "lvlb_weights", "logvar", "scale_factor", "v_pred", "ztsnr", "global_step"),
    *("model_ema.*", "first_stage_model.loss.*", "*.position_ids", "*.logit_scale", "*.text_projection*"),
)
BETA_NAMES = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "cosine", "sqrt": "sqrt"}
HEAD_FIELDS = ("num_heads", "num_head_channels", "legacy", "use_new_attention_order")


def matches(path: Path) -> bool:
    """Whether a U-Net, an autoencoder with a normal distribution and CLIP's text encoder are all there."""
    names = {_renamed(name) for name in read_shapes(path)[0]}
    return all(name in names for name in NEEDED)


def read(path: Path) -> Checkpoint:
    """A single file, its tensors mapped where the file allows it.

    Raises:
        CheckpointError: it is of a family that cannot be loaded yet, or its vocabulary is not there.
    """
    loaded, _ = read_state_dict(path)
    tensors = {_renamed(name): tensor for name, tensor in loaded.items()}
    params = _yaml_params(path)
    config = infer_config({name: tuple(tensor.shape) for name, tensor in tensors.items()}, path.name)
    try:
        config = _with_params(config, params)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise CheckpointError(f"The YAML file beside {path.name} cannot be used: {error}.") from error
    if "v_pred" in tensors:
        config = replace(config, prediction_type="v")
    config = replace(config, name=path.stem, schedule=_schedule(tensors, config.schedule, path.name))
    tokenizer = _tokenizer(path, config.text)
    text = replace(
        config.text, bos_token_id=tokenizer.bos, eos_token_id=tokenizer.eos, pad_token_id=tokenizer.pad
    )
    return Checkpoint(path, replace(config, text=text), tokenizer, tensors, LEFTOVERS)


def use_ema(checkpoint: Checkpoint) -> None:
    """Put the averaged weights of a training file in place of the last ones.

    Raises:
        CheckpointError: the file has none.
    """
    tensors = checkpoint.tensors
    averaged = [key for key in tensors if key.startswith("model.") and _ema_name(key) in tensors]
    if not averaged:
        raise CheckpointError(f"{checkpoint.path.name} has no averaged weights (model_ema).")
    for key in averaged:
        tensors[key] = tensors[_ema_name(key)]


def _renamed(name: str) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _ema_name(key: str) -> str:
    return "model_ema." + key.removeprefix("model.").replace(".", "")


def _yaml_params(path: Path) -> dict[str, Any]:
    """`model: params:` of the YAML file beside a checkpoint; empty if there is none.

    Raises:
        CheckpointError: it is no YAML.
    """
    import yaml

    # a folder of many models has no one config
    shared = () if (path.parent / "default.safetensors").exists() else (path.with_name("config.yaml"),)
    for beside in (path.with_suffix(".yaml"), *shared):
        if not beside.is_file():
            continue
        try:
            content = yaml.safe_load(beside.read_text("utf-8"))
        except (yaml.YAMLError, OSError, ValueError) as error:
            raise CheckpointError(f"{beside.name} beside {path.name} cannot be read: {error}.") from error
        model = content.get("model") if isinstance(content, dict) else None
        if isinstance(model, dict) and isinstance(model.get("params"), dict):
            return dict(model["params"])
    return {}


def _with_params(config: ModelConfig, params: dict[str, Any]) -> ModelConfig:
    """The config with what names and shapes cannot tell taken from CompVis's parameters."""
    heads = params.get("unet_config", {}).get("params", {})
    if "num_heads" in heads or "num_head_channels" in heads:
        silent = {"num_heads": -1, "num_head_channels": -1} | {k: heads[k] for k in HEAD_FIELDS if k in heads}
        config = replace(config, unet=replace(config.unet, **silent))
    usual = config.schedule
    schedule = ScheduleConfig(
        n_steps=int(params.get("timesteps", usual.n_steps)),
        betas=BETA_NAMES[params.get("beta_schedule", "linear")],
        linear_start=float(params.get("linear_start", usual.linear_start)),
        linear_end=float(params.get("linear_end", usual.linear_end)),
    )
    side = (
        512
        if "image_size" not in params
        else int(params["image_size"]) * config.autoencoder.downsampling_factor
    )
    return replace(
        config,
        schedule=schedule,
        prediction_type=params.get("parameterization", config.prediction_type),
        latent_scaling_factor=float(params.get("scale_factor", config.latent_scaling_factor)),
        recommended=RecommendedSettings(width=side, height=side),
    )


def _schedule(tensors: Mapping[str, Tensor], usual: ScheduleConfig, name: str) -> ScheduleConfig:
    """The schedule that the file's own betas are of; `usual` if it has none.

    Raises:
        CheckpointError: they are of none that is known.
    """
    found = tensors.get("betas", tensors.get("beta"))
    if found is None or found.ndim != 1 or len(found) < 2:
        return replace(usual, zero_terminal_snr=usual.zero_terminal_snr or "ztsnr" in tensors)
    betas = found.double()
    usual = replace(usual, n_steps=len(betas))
    own = replace(usual, linear_start=float(f"{betas[0]:.6g}"), linear_end=float(f"{betas[-1]:.6g}"))
    candidates = [
        usual,
        replace(usual, zero_terminal_snr=True),
        *(replace(own, betas=kind) for kind in BETAS),
    ]
    for config in candidates:
        schedule = build_schedule(
            n_steps=config.n_steps,
            betas=config.betas,
            linear_start=config.linear_start,
            linear_end=config.linear_end,
            zero_terminal_snr=config.zero_terminal_snr,
        )
        if torch.allclose(schedule.betas, betas, rtol=2e-3, atol=1e-6):  # also of half-precision betas
            return config
    raise CheckpointError(
        f"{name} was trained on a noise schedule that is none of {', '.join(BETAS)} "
        f"(betas from {own.linear_start:g} to {own.linear_end:g})."
    )


def _tokenizer(path: Path, text: TextConfig) -> Tokenizer:
    """The vocabulary in `tokenizer/` beside the file if it is of this size, else CLIP's.

    Raises:
        CheckpointError: neither has as many entries as the text encoder.
    """
    folder = path.with_name("tokenizer")
    if (folder / "vocab.json").is_file():
        tokenizer = Tokenizer.from_folder(folder, text.max_position_embeddings)
        if len(tokenizer.vocab) == text.vocab_size:
            return tokenizer
    if text.vocab_size == CLIP_SIZE:
        return Tokenizer.clip(text.max_position_embeddings)
    raise CheckpointError(
        f"{path.name} has a text encoder for {text.vocab_size} words, CLIP's vocabulary has {CLIP_SIZE}. "
        "Put its own vocab.json and merges.txt into a folder named tokenizer beside it."
    )
