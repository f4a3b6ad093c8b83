"""CompVis's YAML file beside a checkpoint: what names and shapes cannot tell.

`<name>.yaml`, or `config.yaml` in a folder of its own.  Nothing in it is imported or run.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..models.config import ModelConfig, ScheduleConfig

SHOWN = 160  # characters of what the reader of YAML says
BETA_NAMES = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "cosine", "sqrt": "sqrt"}
HEAD_FIELDS = ("num_heads", "num_head_channels", "legacy", "use_new_attention_order")
SCALINGS = {"VScaling": "v", "EpsScaling": "eps"}  # of Stability AI's generative-models


def yaml_file(path: Path) -> Path | None:
    """The YAML file that goes with a checkpoint; None without one."""
    # a folder of many models has no one config
    shared = () if (path.parent / "default.safetensors").exists() else (path.with_name("config.yaml"),)
    return next((file for file in (path.with_suffix(".yaml"), *shared) if file.is_file()), None)


def yaml_params(path: Path) -> dict[str, Any]:
    """`model: params:` of the YAML file beside a checkpoint; empty if there is none.

    Raises:
        CheckpointError: it is no YAML.
    """
    import yaml

    beside = yaml_file(path)
    if beside is None:
        return {}
    try:
        content = yaml.safe_load(beside.read_text("utf-8"))
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:SHOWN].rstrip(". ")
        raise CheckpointError(f"{beside.name} beside {path.name} cannot be read: {said}.") from error
    model = content.get("model") if isinstance(content, dict) else None
    params = model.get("params") if isinstance(model, dict) else None
    return dict(params) if isinstance(params, dict) else {}


def with_params(config: ModelConfig, params: Mapping[str, Any], name: str) -> ModelConfig:
    """The config with what CompVis's parameters say.

    Args:
        name: of the checkpoint, for messages.

    Raises:
        CheckpointError: a parameter makes no sense.
    """
    try:
        return _with_params(config, params)
    except (TypeError, ValueError, AttributeError, KeyError, ArithmeticError) as error:
        raise CheckpointError(f"The YAML file beside {name} cannot be used: {error}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"The YAML file beside {name} cannot be used. {error}") from error


def says_prediction(params: Mapping[str, Any]) -> str | None:
    """What the parameters say that the network predicts; None if nothing."""
    if "parameterization" in params:
        return str(params["parameterization"])
    denoiser = _below(params, "denoiser_config")
    scaling = str(denoiser.get("scaling_config", {}).get("target", "")).rpartition(".")[2]
    return SCALINGS.get(scaling)


def _below(params: Mapping[str, Any], part: str) -> dict[str, Any]:
    found: dict[str, Any] = (params.get(part) or {}).get("params") or {}
    return found


def _with_params(config: ModelConfig, params: Mapping[str, Any]) -> ModelConfig:
    heads = _below(params, "unet_config") or _below(params, "network_config")
    if "num_heads" in heads or "num_head_channels" in heads:
        silent = {"num_heads": -1, "num_head_channels": -1} | {k: heads[k] for k in HEAD_FIELDS if k in heads}
        config = replace(config, unet=replace(config.unet, **silent))
    usual = config.schedule
    schedule = ScheduleConfig(
        n_steps=int(params.get("timesteps", usual.n_steps)),
        betas=BETA_NAMES[params["beta_schedule"]] if "beta_schedule" in params else usual.betas,
        linear_start=float(params.get("linear_start", usual.linear_start)),
        linear_end=float(params.get("linear_end", usual.linear_end)),
    )
    best = config.recommended
    if "image_size" in params:
        side = params["image_size"]
        tall, wide = side if isinstance(side, list) else (side, side)
        f = config.autoencoder.downsampling_factor
        best = replace(best, width=int(wide) * f, height=int(tall) * f)
    return replace(
        config,
        schedule=schedule,
        prediction_type=says_prediction(params) or config.prediction_type,
        latent_scaling_factor=float(params.get("scale_factor", config.latent_scaling_factor)),
        recommended=best,
    )
