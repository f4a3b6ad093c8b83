"""CompVis's YAML file beside a checkpoint: what names and shapes cannot tell.

`<name>.yaml`, or `config.yaml` where a file is the only checkpoint of its folder.  Nothing in it is imported
or run, and a value of another kind than the field's is an error.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..models.autoencoder_config import AutoencoderConfig, VQConfig
from ..models.config import ModelConfig, ScheduleConfig, UNetConfig
from .careful import WRONG, said
from .files import SUFFIXES, read_shapes
from .yaml_files import read_yaml

BETA_NAMES = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "cosine", "sqrt": "sqrt"}
HEAD_FIELDS = ("num_heads", "num_head_channels", "legacy", "use_new_attention_order")
SCALINGS = {"VScaling": "v", "EpsScaling": "eps"}  # of Stability AI's generative-models
UNETS = ("unet_config", "network_config")
UNET_SIZES = ("in_channels", "out_channels", "model_channels", "context_dim")
STAGE_SIZES = ("z_channels", "ch")


def yaml_file(path: Path) -> Path | None:
    """The YAML file that goes with a checkpoint; None without one."""
    own, shared = path.with_suffix(".yaml"), path.with_name("config.yaml")
    if own.is_file():
        return own
    return shared if shared.is_file() and _is_alone(path) else None


def yaml_params(path: Path) -> dict[str, Any]:
    """`model: params:` of the YAML file beside a checkpoint; empty if there is none.

    Raises:
        CheckpointError: it is no YAML.
    """
    beside = yaml_file(path)
    if beside is None:
        return {}
    try:
        content = read_yaml(beside)
    except CheckpointError as error:
        words = str(error).removeprefix(beside.name)
        raise CheckpointError(f"{beside.name} beside {path.name}{words}") from error
    model = content.get("model") if isinstance(content, dict) else None
    params = model.get("params") if isinstance(model, dict) else None
    return dict(params) if isinstance(params, dict) else {}


def with_params(config: ModelConfig, params: Mapping[str, Any], name: str) -> ModelConfig:
    """The config with what CompVis's parameters say, but for what it predicts.

    Args:
        name: of the checkpoint, for messages.

    Raises:
        CheckpointError: a parameter makes no sense, or the networks are of other sizes.
    """
    try:
        _check_sizes(config, params)
        return _with_params(config, params)
    except WRONG as error:
        raise CheckpointError(f"The YAML file beside {name} cannot be used: {said(error)}.") from error
    except CheckpointError as error:
        raise CheckpointError(f"The YAML file beside {name} cannot be used. {error}") from error


def says_prediction(params: Mapping[str, Any], name: str) -> str | None:
    """What the parameters say that the network predicts; None if nothing.

    Raises:
        CheckpointError: they say something else.
    """
    if "parameterization" in params:
        found = params["parameterization"]
        if not isinstance(found, str) or found not in ("eps", "v", "x0"):
            raise CheckpointError(
                f"The YAML file beside {name} says that it predicts {_shown(found)}: eps, v or x0."
            )
        return found
    try:
        scaling = _record(_below(params, "denoiser_config"), "scaling_config")
    except CheckpointError as error:
        raise CheckpointError(f"The YAML file beside {name} cannot be used. {error}") from error
    target = scaling.get("target")
    return SCALINGS.get(target.rpartition(".")[2]) if isinstance(target, str) else None


def usual_prediction(params: Mapping[str, Any]) -> str | None:
    """What CompVis's class predicts where its config is silent; None if the parameters are no config."""
    return "eps" if "unet_config" in params else None


def says_heads(params: Mapping[str, Any]) -> bool:
    """Whether the parameters say how many heads there are."""
    unet = _unet(params)
    return "num_heads" in unet or "num_head_channels" in unet


def says_schedule(params: Mapping[str, Any]) -> bool:
    """Whether the parameters say what the noise levels are."""
    return any(name in params for name in ("linear_start", "linear_end", "beta_schedule"))


def _is_alone(path: Path) -> bool:
    """Whether no other file of its folder may be a checkpoint; one of the same stem is the same one."""
    files = (file for file in path.parent.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    return not any(_may_be_checkpoint(file) for file in files if file.stem != path.stem)


def _may_be_checkpoint(file: Path) -> bool:
    """By the header of a .safetensors file; others are slow to look into and taken for one."""
    if file.suffix.lower() != ".safetensors":
        return True
    try:
        return any(name.startswith("model.diffusion_model.") for name in read_shapes(file)[0])
    except (CheckpointError, OSError):
        return False


def _shown(value: object) -> str:
    """A value for a message; what may be endless is named by its kind."""
    return f"{value!r:.40}" if isinstance(value, str | float | bool) else f"a {type(value).__name__}"


def _record(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    if found is not None and not isinstance(found, dict):
        raise CheckpointError(f"{name} must be a record, got {_shown(found)}.")
    return found or {}


def _below(params: Mapping[str, Any], part: str) -> dict[str, Any]:
    return _record(_record(params, part), "params")


def _unet(params: Mapping[str, Any]) -> dict[str, Any]:
    return _below(params, UNETS[0]) or _below(params, UNETS[1])


def _number(params: Mapping[str, Any], name: str, usual: float) -> float:
    """A number; YAML takes 1e-4 for text."""
    found = params.get(name, usual)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise CheckpointError(f"{name} must be a number, got {_shown(found)}.")
    try:
        return float(found)
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{name} must be a number, got {_shown(found)}.") from error


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CheckpointError(f"{name} must be a whole number, got {_shown(value)}.")
    return value


def _check_sizes(config: ModelConfig, params: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the parameters are of networks of other sizes."""
    ours: dict[str, Any] = {}
    theirs = _unet(params)
    if isinstance(config.unet, UNetConfig):
        ours = {name: getattr(config.unet, name) for name in UNET_SIZES}
        if ours["context_dim"] is None and theirs.get("use_spatial_transformer") is not True:
            del ours["context_dim"]  # then nothing reads it
    _compare(ours, theirs, "U-Net")
    stage = config.autoencoder.autoencoder if isinstance(config.autoencoder, VQConfig) else config.autoencoder
    if isinstance(stage, AutoencoderConfig):
        theirs = _below(params, "first_stage_config")
        _compare({"embed_dim": stage.embed_dim}, theirs, "first stage")
        sizes = {name: getattr(stage, name) for name in STAGE_SIZES}
        _compare(sizes, _record(theirs, "ddconfig"), "first stage")


def _compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], part: str) -> None:
    for name, value in ours.items():
        told = theirs.get(name)
        if isinstance(told, int) and told != value:
            raise CheckpointError(
                f"It is of another model: its {part} has {name} {told:.6g}, the file's has {value}."
            )


def _with_params(config: ModelConfig, params: Mapping[str, Any]) -> ModelConfig:
    heads = _unet(params)
    if says_heads(params):
        silent = {"num_heads": -1, "num_head_channels": -1} | {k: heads[k] for k in HEAD_FIELDS if k in heads}
        config = replace(config, unet=replace(config.unet, **silent))
    usual, betas = config.schedule, config.schedule.betas
    if "beta_schedule" in params:
        named = params["beta_schedule"]
        if not isinstance(named, str) or named not in BETA_NAMES:
            raise CheckpointError(
                f"beta_schedule must be one of {', '.join(BETA_NAMES)}, got {_shown(named)}."
            )
        betas = BETA_NAMES[named]
    schedule = ScheduleConfig(
        n_steps=_whole(params.get("timesteps", usual.n_steps), "timesteps"),
        betas=betas,
        linear_start=_number(params, "linear_start", usual.linear_start),
        linear_end=_number(params, "linear_end", usual.linear_end),
    )
    best = config.recommended
    if "image_size" in params:
        side = params["image_size"]
        tall, wide = side if isinstance(side, list) else (side, side)
        f = config.autoencoder.downsampling_factor
        best = replace(best, width=_whole(wide, "image_size") * f, height=_whole(tall, "image_size") * f)
    return replace(
        config,
        schedule=schedule,
        latent_scaling_factor=_number(params, "scale_factor", config.latent_scaling_factor),
        recommended=best,
    )
