"""Folders of diffusers: Stable Diffusion 1, 2 and XL, and the latent diffusion paper's models.

Sizes come from the JSON files, weights from `unet/`, `vae/` (or `vqvae/`) and the text encoders, and get this
project's names by the tables that also write such folders (`diffusers_names`).  Needs no diffusers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..models.autoencoder_config import FirstStageSizes
from ..models.config import ModelConfig, RecommendedSettings, UNetConfig
from .careful import reading
from .diffusers_files import read_json, read_weights
from .diffusers_names import OLD, renamed, to_ours
from .diffusers_sizes import STABLE_DIFFUSION, read_autoencoder_config, read_schedule, read_unet_config
from .diffusers_tables import tables, weight_shapes
from .diffusers_text import Texts, read_texts
from .report import Checkpoint

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
FIRST_STAGES = ("vae", "vqvae")
LEFTOVERS = ("text_encoder*/*position_ids",)
# what begins a class's name -> what it is; of pipelines, and of networks that are saved alone
STRANGERS: dict[str, str] = {
    "ControlNet": "a ControlNet, an addition to a model",
    "StableDiffusionControlNet": "a pipeline with a ControlNet, which cannot be used yet",
    "StableDiffusionXLControlNet": "a pipeline with a ControlNet, which cannot be used yet",
    "MultiControlNet": "a ControlNet, an addition to a model",
    "T2IAdapter": "a T2I-Adapter, an addition to a model",
    "StableDiffusion3": "Stable Diffusion 3",
    "SD3": "Stable Diffusion 3",
    "Flux": "Flux",
    "PixArt": "PixArt",
    "StableDiffusionDepth2Img": "Stable Diffusion 2 with depth",
    "StableVideo": "Stable Video Diffusion",
    "StableCascade": "Stable Cascade",
    "Wuerstchen": "Wuerstchen",
    "Kandinsky": "Kandinsky",
    "IF": "DeepFloyd IF",
    "AudioLDM": "AudioLDM",
    "HunyuanDiT": "Hunyuan-DiT",
    "Sana": "Sana",
    "QwenImage": "Qwen-Image",
    "DiT": "a diffusion transformer",
    "DDPMPipeline": "a model in pixel space",
    "UNet2D": "a U-Net, one part of a model",
    "AutoencoderKL": "an autoencoder, one part of a model",
    "AutoencoderTiny": "a small autoencoder, one part of a model",
    "VQModel": "a VQ autoencoder, one part of a model",
}


def matches(path: Path) -> bool:
    """Whether a folder has diffusers' index, or a U-Net and an autoencoder, or is one network alone."""
    if not path.is_dir():
        return False
    if (path / INDEX).is_file() or ((path / "unet").is_dir() and _first_stage(path) is not None):
        return True
    return (path / "config.json").is_file() and "_class_name" in _values(path / "config.json")


def read(path: Path) -> Checkpoint:
    """A folder, its tensors mapped where its files allow that.

    Raises:
        CheckpointError: it holds something else than a latent diffusion model, or a part is missing.
    """
    config, texts = read_config(path)
    stage = _first_stage(path) or FIRST_STAGES[0]
    keys = weight_shapes(config, texts.tokenizer)
    tensors: dict[str, Tensor] = {}
    for part, table in tables(config, keys, texts.towers, stage).items():
        ours, rest = to_ours(table, modern(part, read_weights(path / part)))
        tensors.update(ours)
        tensors.update({f"{part}/{name}": tensor for name, tensor in rest.items()})
    return Checkpoint(path, config, texts.tokenizer, tensors, LEFTOVERS, assumed=guessed(path))


def guessed(path: Path) -> tuple[str, ...]:
    """The fields of the config that nothing in a folder tells: those that a scheduler's file would."""
    return () if (path / SCHEDULER).is_file() else ("prediction_type", "schedule")


def modern(part: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a part under the names that today's diffusers and transformers 4 give them."""
    if not part.startswith("text_encoder"):
        return {renamed(name, OLD): tensor for name, tensor in weights.items()}
    # transformers 5 writes no "text_model." before the names
    bare = ("embeddings.", "encoder.", "final_layer_norm.")
    return {f"text_model.{k}" if k.startswith(bare) else k: tensor for k, tensor in weights.items()}


def read_config(path: Path) -> tuple[ModelConfig, Texts]:
    """What a folder holds, by its JSON files alone.

    Raises:
        CheckpointError: as `read`.
    """
    with reading(f"A JSON file of {path.name}"):
        return _read_config(path)


def _read_config(path: Path) -> tuple[ModelConfig, Texts]:
    index = read_json(path / INDEX) if (path / INDEX).is_file() else {}
    _refuse(path, index or _values(path / "config.json"))
    stage = _first_stage(path)
    if stage is None or not (path / "unet").is_dir():
        missing = "unet/" if not (path / "unet").is_dir() else "vae/"
        raise CheckpointError(f"{path.name} has no {missing}; that part of the model is missing.")
    values = read_json(path / "unet" / "config.json")
    unet = read_unet_config(values)
    autoencoder, factor = read_autoencoder_config(read_json(path / stage / "config.json"), stage)
    texts = read_texts(path, unet, values, index)
    scheduler_file = path / SCHEDULER
    scheduler = read_json(scheduler_file) if scheduler_file.is_file() else STABLE_DIFFUSION
    schedule, predicts = read_schedule(scheduler)
    picture = _picture(path.name, unet, autoencoder, str(index.get("_class_name", "")))
    try:
        config = ModelConfig(
            name=_name(path),
            unet=unet,
            autoencoder=autoencoder,
            text=texts.config,
            schedule=schedule,
            prediction_type=predicts,
            latent_scaling_factor=factor,
            picture=picture,
            recommended=_recommended(values, unet, autoencoder, scheduler),
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a config that no network can have. {error}") from error
    return config, texts


def _first_stage(path: Path) -> str | None:
    return next((name for name in FIRST_STAGES if (path / name).is_dir()), None)


def _values(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointError:
        return {}


def _refuse(path: Path, values: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a folder is known to be something else."""
    kind = str(values.get("_class_name", ""))
    begins = [begin for begin in STRANGERS if kind.startswith(begin)]
    if begins and not (kind.startswith("UNet2D") and (path / "unet").is_dir()):
        words = STRANGERS[max(begins, key=len)]
        raise CheckpointError(
            f"{path.name} is a diffusers folder of {words} ({kind}); that cannot be loaded."
        )
    transformer = path / "transformer" / "config.json"
    if transformer.is_file() and not (path / "unet").is_dir():
        inner = _values(transformer).get("_class_name", "a transformer")
        raise CheckpointError(f"{path.name} denoises with {inner}, not with a U-Net; that cannot be loaded.")


def _name(path: Path) -> str:
    """The folder's name; the repository's where the folder is in the Hub's cache."""
    inside = path.resolve().parent.parent.name
    return inside.removeprefix("models--").replace("--", "/") if inside.startswith("models--") else path.name


def _picture(name: str, unet: UNetConfig, autoencoder: FirstStageSizes, pipeline: str) -> str | None:
    """What the U-Net reads beside its latents, by how many channels it has.

    Raises:
        CheckpointError: nothing that is known has so many.
    """
    latents = autoencoder.embed_dim
    if unet.in_channels == latents:
        return None
    if unet.in_channels == latents + 3:
        return "upscale" if unet.num_classes is not None else "low_resolution"
    known = {2 * latents + 1: "inpaint", 2 * latents: "edit"}
    if unet.in_channels not in known:
        raise CheckpointError(
            f"{name} has a U-Net with {unet.in_channels} channels in, where latents have {latents}"
            f"{f' ({pipeline})' if pipeline else ''}; what else it reads is not known."
        )
    return known[unet.in_channels]


def _recommended(
    values: Mapping[str, Any], unet: UNetConfig, autoencoder: FirstStageSizes, scheduler: Mapping[str, Any]
) -> RecommendedSettings:
    usual = RecommendedSettings()
    size = values.get("sample_size") or 64
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    f = autoencoder.downsampling_factor
    kind = scheduler.get("_class_name")
    sampler = {"LCMScheduler": "lcm", "TCDScheduler": "tcd"}.get(str(kind), usual.sampler)
    cfg_scale = usual.cfg_scale
    if unet.context_dim is None or sampler != usual.sampler:
        cfg_scale = 1.0
    return RecommendedSettings(
        steps=4 if sampler != usual.sampler else usual.steps,
        sampler=sampler,
        cfg_scale=cfg_scale,
        width=int(width) * f,
        height=int(height) * f,
    )
