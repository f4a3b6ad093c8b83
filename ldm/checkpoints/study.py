"""Files of the study, explainingai-code/StableDiffusion-PyTorch: a U-Net, with its other parts beside it.

A `.pth` of the study holds one network.  Its autoencoder is another file in the same folder; a text encoder
lies beside it as a folder `text_encoder` (and `tokenizer`) in transformers' layout.  Sizes come from shapes
(`study_sizes`), the rest from the study's YAML file (`study_yaml`) or, without one, from what its repository
publishes.  Both layouts of names are read, the repository's and the one of the study's text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ..errors import CheckpointError
from ..models.condition_config import ClassConfig, ConditionConfig, NoConditionConfig
from ..models.config import ModelConfig, RecommendedSettings, ScheduleConfig
from ..models.study_config import StudyAutoencoderConfig, StudyUNetConfig
from ..models.tokenizer import Tokenizer
from .diffusers_files import read_json, read_weights
from .diffusers_folder import modern
from .diffusers_sizes import read_text_config
from .diffusers_text import read_tokenizer, with_marks
from .files import SUFFIXES, read_shapes, read_state_dict
from .naming import shown_name
from .report import Checkpoint, Shapes
from .study_sizes import (
    config_of_autoencoder,
    config_of_unet,
    house_names,
    looks_like_study,
    number,
    section,
    told_of_autoencoder,
    told_of_unet,
    whole,
)
from .study_yaml import find_yaml

__all__ = [
    "autoencoder_config",
    "config_of_autoencoder",
    "house_names",
    "looks_like_study",
    "matches",
    "read",
]

Sizes = TypeVar("Sizes", StudyUNetConfig, StudyAutoencoderConfig)
UNET, FIRST_STAGE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
LEFTOVERS = ("*.position_ids",)
# the names of the autoencoders' files: in the YAML, in the repository, and in the study's text
STAGE_FIELDS = ("vqvae_autoencoder_ckpt_name", "vae_autoencoder_ckpt_name")
STAGE_FILES = ("vqvae_autoencoder_ckpt.pth", "vae_autoencoder_ckpt.pth", "vae_ckpt.pth")
BETAS, TEXT_BETAS = (
    (0.0015, 0.0195),
    (0.00085, 0.012),
)  # of the published configs, the second where a text is read
PIXELS, MNIST_PIXELS = 256, 28
STEPS = 50  # of DDIM; the study itself takes all 1000 of DDPM
CAPTION = "She is a woman with blond hair. She is wearing lipstick."  # of the study's own script


@dataclass(frozen=True)
class _Words:
    """What tells the U-Net what to draw: its sizes, its vocabulary and its weights, if it has any."""

    config: ConditionConfig
    tokenizer: Tokenizer | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def matches(path: Path) -> bool:
    """Whether a file is a U-Net of the study, in either layout."""
    return path.is_file() and looks_like_study(read_shapes(path)[0]) == "study"


def read(path: Path) -> Checkpoint:
    """A U-Net and what belongs to it, tensors mapped where the files allow it.

    Raises:
        CheckpointError: its autoencoder or its text encoder is not beside it, its YAML file does not fit, or
            the sizes need one that is not there.
    """
    loaded = read_state_dict(path)[0]
    shapes = {name: tuple(tensor.shape) for name, tensor in loaded.items()}
    yaml = find_yaml(path, told_of_unet(shapes))
    unet = _sized(config_of_unet, shapes, yaml, path)
    stage = _stage(path, unet, yaml)
    words = _words(path, unet, yaml)
    config = _config(path, unet, autoencoder_config(stage, yaml), words.config, yaml)
    parts = {
        UNET: house_names(loaded),
        FIRST_STAGE: house_names(read_state_dict(stage)[0]),
        TEXT: words.tensors,
    }
    tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    return Checkpoint(path, config, words.tokenizer, tensors, LEFTOVERS)  # type: ignore[arg-type]


def autoencoder_config(path: Path, yaml: Mapping[str, Any] | None = None) -> StudyAutoencoderConfig:
    """Sizes of a VQVAE or VAE in a file of its own.

    Args:
        yaml: what the YAML file of its U-Net holds, which is its own too; None looks for one.

    Raises:
        CheckpointError: it is none, or the sizes need a YAML file that is not there.
    """
    shapes = read_shapes(path)[0]
    if looks_like_study(shapes) not in StudyAutoencoderConfig.KINDS:
        raise CheckpointError(f"{path.name} is no autoencoder of explainingai's StableDiffusion-PyTorch.")
    yaml = find_yaml(path, told_of_autoencoder(shapes)) or yaml
    return _sized(config_of_autoencoder, shapes, yaml, path)


def _sized(
    make: Callable[[Shapes, Mapping[str, Any] | None], Sizes],
    shapes: Shapes,
    yaml: Mapping[str, Any] | None,
    path: Path,
) -> Sizes:
    """The sizes of a file; what does not fit together is said with its name."""
    try:
        return make(shapes, yaml)
    except CheckpointError as error:
        ways = (
            "Put the YAML file it was trained with beside it." if yaml is None else "Its YAML file says so."
        )
        raise CheckpointError(f"{path.name} has sizes that do not fit together: {error} {ways}") from error


def _stage(path: Path, unet: StudyUNetConfig, yaml: Mapping[str, Any] | None) -> Path:
    """The autoencoder that goes with a U-Net: the one that is named, else the only one in its folder.

    Raises:
        CheckpointError: there is none with as many channels, or several.
    """
    params = section(yaml, "train_params")
    names = [str(params[field]) for field in STAGE_FIELDS if field in params] + [*STAGE_FILES]
    if unet.names == "study":  # whose text has the VAE
        names.sort(key=lambda name: name.startswith("vqvae"))
    for name in dict.fromkeys(names):
        file = path.with_name(Path(name).name)
        if file.is_file() and _has_latents(file, unet.im_channels):
            return file
    files = sorted(file for file in path.parent.iterdir() if file.suffix.lower() in SUFFIXES and file != path)
    found = [file for file in files if file.is_file() and _has_latents(file, unet.im_channels)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{path.name} has {len(found)} autoencoders beside it ({found[0].name}, {found[1].name}); "
            f"call the one that goes with it {STAGE_FILES[0]}."
        )
    raise CheckpointError(
        f"{path.name} is a U-Net alone, for latents of {unet.im_channels} channels; put its autoencoder, "
        f"{names[0]}, into the same folder."
    )


def _has_latents(path: Path, channels: int) -> bool:
    """Whether a file is an autoencoder of the study whose latents have so many channels."""
    try:
        shapes = read_shapes(path)[0]
        kind = looks_like_study(shapes)
        return kind in StudyAutoencoderConfig.KINDS and told_of_autoencoder(shapes)["z_channels"] == channels
    except CheckpointError:
        return False


def _words(path: Path, unet: StudyUNetConfig, yaml: Mapping[str, Any] | None) -> _Words:
    """What tells a U-Net what to draw.

    Raises:
        CheckpointError: it reads a text, and the text encoder is not there, or none that can be read.
    """
    if unet.text_dim is None:
        if unet.n_classes is None:
            return _Words(NoConditionConfig())
        names = "digits" if unet.n_classes == 10 else ""
        return _Words(ClassConfig(n_classes=unet.n_classes, embed_dim=0, null=-1, names=names))
    params = section(yaml, "ldm_params", "condition_config", "text_condition_config")
    if params.get("text_embed_model") == "bert":
        raise CheckpointError(f"{path.name} reads the text encoder DistilBERT; only CLIP's can be loaded.")
    folder = path.with_name("text_encoder")
    if not folder.is_dir():
        raise CheckpointError(
            f"{path.name} reads a text encoder that it does not hold: put CLIP ViT-B/16 in transformers' "
            "layout into a folder named text_encoder beside it."
        )
    text = read_text_config(read_json(folder / "config.json"))
    if text.hidden_size != unet.text_dim:
        raise CheckpointError(
            f"{path.name} reads texts of {unet.text_dim} channels; the text encoder beside it gives "
            f"{text.hidden_size}."
        )
    own = path.with_name("tokenizer")
    tokenizer = read_tokenizer(own if own.is_dir() else folder, text)
    weights = modern("text_encoder", read_weights(folder))
    return _Words(
        replace(with_marks(text, tokenizer), attention_mask=True),
        tokenizer,
        {name: tensor for name, tensor in weights.items() if name.startswith("text_model.")},
    )


def _config(
    path: Path,
    unet: StudyUNetConfig,
    stage: StudyAutoencoderConfig,
    words: ConditionConfig,
    yaml: Mapping[str, Any] | None,
) -> ModelConfig:
    """Everything about the model; what is recommended is the study's but for the number of steps.

    Raises:
        CheckpointError: the YAML file has a number that none can be.
    """
    diffusion, training = section(yaml, "diffusion_params"), section(yaml, "train_params")
    start, end = BETAS if unet.text_dim is None else TEXT_BETAS
    guides = unet.text_dim is not None or unet.n_classes is not None
    multiple = stage.downsampling_factor * 2**unet.downsamplings
    try:
        schedule = ScheduleConfig(
            n_steps=whole(diffusion, "num_timesteps", 1000),
            linear_start=number(diffusion, "beta_start", start, below=1.0),
            linear_end=number(diffusion, "beta_end", end, below=1.0),
        )
        pixels = MNIST_PIXELS if stage.im_channels == 1 else PIXELS
        side = whole(section(yaml, "dataset_params"), "im_size", pixels) // multiple * multiple or multiple
        scale = number(training, "cf_guidance_scale", 1.0)
    except CheckpointError as error:
        raise CheckpointError(f"The YAML file of {path.name} cannot be used: {error}") from error
    return ModelConfig(
        name=shown_name(path),
        unet=unet,
        autoencoder=stage,
        text=words,
        schedule=schedule,
        latent_scaling_factor=1.0,
        picture=None if unet.mask_channels is None else "study_mask",
        recommended=RecommendedSettings(
            steps=min(STEPS, schedule.n_steps),
            sampler="ddim",
            cfg_scale=scale if guides else 1.0,
            width=side,
            height=side,
        ),
        examples=() if unet.text_dim is None else (CAPTION,),
    )
