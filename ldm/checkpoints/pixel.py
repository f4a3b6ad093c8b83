"""Files of models that diffuse pixels: labml's DDPM, and score networks (NCSN).

Both hold a network alone, so what a file does not say is as published: labml's schedule and its pictures in
[0, 1]; NCSN's noise levels from 1 to 0.01, unless the original's `config.yml` lies beside the file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..models.condition_config import NoConditionConfig
from ..models.config import ModelConfig, RecommendedSettings, ScheduleConfig
from ..models.pixel_config import DDPMUNetConfig, IdentityConfig, ScoreNetConfig
from .files import read_shapes, read_state_dict
from .naming import shown_name
from .report import Checkpoint, Shapes
from .yaml_files import read_yaml

UNET = "model.diffusion_model."
PREFIXES = ("eps_model.", "module.", "score.")  # of labml's `DenoiseDiffusion`, of torch's `DataParallel`
DDPM_NEEDS = ("image_proj.weight", "time_emb.lin1.weight", "middle.res1.conv1.weight", "final.weight")
NCSN_NEEDS = ("begin_conv.weight", "normalizer.embed.weight", "refine1.crp.convs.0.weight", "end_conv.weight")
DEEPER = "refine5.crp.convs.0.weight"  # of `CondRefineNetDeeperDilated`
SIDE = 32  # pixels, of both systems' own experiments


def matches(path: Path) -> bool:
    """Whether a file is labml's U-Net or a score network, by its names."""
    names = {bare(name) for name in read_shapes(path)[0]}
    return names.issuperset(DDPM_NEEDS) or names.issuperset(NCSN_NEEDS)


def read(path: Path) -> Checkpoint:
    """A network in pixel space, its tensors mapped where the file allows it.

    Raises:
        CheckpointError: its sizes do not fit together, or it is of a kind that cannot be built.
    """
    tensors = {bare(name): tensor for name, tensor in read_state_dict(path)[0].items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assumed: tuple[str, ...]
    try:
        if set(shapes).issuperset(DDPM_NEEDS):
            config, assumed = _ddpm_model(path, ddpm_config(shapes)), ("schedule", "autoencoder.low")
        else:
            told = _told(path)
            config = _ncsn_model(path, ncsn_config(shapes, told))
            assumed = () if told else ("schedule",)
    except (CheckpointError, IndexError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path.name} has sizes that do not fit together: {error}") from error
    return Checkpoint(
        path, config, None, {UNET + name: tensor for name, tensor in tensors.items()}, assumed=assumed
    )


def bare(name: str) -> str:
    """The name of a weight without what stands before it in a file of a whole experiment."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def ddpm_config(shapes: Shapes) -> DDPMUNetConfig:
    """Sizes of labml's U-Net.

    Raises:
        CheckpointError: widths that are no multiple of the level's before.
    """
    width, channels = shapes["image_proj.weight"][:2]
    levels: list[list[int]] = [[]]  # numbers of the blocks of each level
    for number in range(_count(shapes, "down.")):
        if f"down.{number}.conv.weight" in shapes:  # halves
            levels.append([])
        else:
            levels[-1].append(number)
    mults, before = [], width
    for blocks in levels:
        after = shapes[f"down.{blocks[0]}.res.conv1.weight"][0]
        if after % before:
            raise CheckpointError(f"a level has {after} channels, the one before it {before}.")
        mults.append(after // before)
        before = after
    return DDPMUNetConfig(
        image_channels=channels,
        n_channels=width,
        ch_mults=tuple(mults),
        is_attn=tuple(f"down.{blocks[0]}.attn.projection.weight" in shapes for blocks in levels),
        n_blocks=len(levels[0]),
    )


def ncsn_config(shapes: Shapes, told: Mapping[str, Any] | None = None) -> ScoreNetConfig:
    """Sizes of a score network.

    Args:
        told: what the original's `config.yml` says; None is without one.

    Raises:
        CheckpointError: it is the original's deeper kind, or the file beside it says impossible levels.
    """
    if DEEPER in shapes:
        raise CheckpointError(
            "it is NCSN's deeper network (CondRefineNetDeeperDilated), which cannot be built."
        )
    told = told or {}
    model, data = (part if isinstance(part, dict) else {} for part in (told.get("model"), told.get("data")))
    usual = ScoreNetConfig()
    if data.get("logit_transform"):
        raise CheckpointError("it was trained on logits of pictures (logit_transform), not on pictures.")
    begin, end = (float(model.get(f"sigma_{n}", getattr(usual, f"sigma_{n}"))) for n in ("begin", "end"))
    if not begin >= end > 0:
        raise CheckpointError(
            f"its noise levels must fall from sigma_begin to sigma_end, got {begin} to {end}."
        )
    width, channels = shapes["begin_conv.weight"][:2]
    return ScoreNetConfig(
        channels=channels,
        ngf=width,
        num_classes=shapes["normalizer.embed.weight"][0],
        sigma_begin=begin,
        sigma_end=end,
        image_size=int(data.get("image_size", SIDE)),
    )


def _ddpm_model(path: Path, sizes: DDPMUNetConfig) -> ModelConfig:
    return ModelConfig(
        name=shown_name(path),
        unet=sizes,
        autoencoder=IdentityConfig(sizes.image_channels, low=0.0),  # labml's data is never moved to [-1, 1]
        text=NoConditionConfig(),
        schedule=ScheduleConfig(betas="linear", linear_start=1e-4, linear_end=2e-2),
        latent_scaling_factor=1.0,
        recommended=RecommendedSettings(
            steps=100, sampler="ddpm", cfg_scale=1.0, cfg_rescale=0.0, width=SIDE, height=SIDE
        ),
    )


def _ncsn_model(path: Path, sizes: ScoreNetConfig) -> ModelConfig:
    side = sizes.image_size
    return ModelConfig(
        name=shown_name(path),
        unet=sizes,
        autoencoder=IdentityConfig(sizes.channels),
        text=NoConditionConfig(),
        schedule=ScheduleConfig(  # of pictures in [-1, 1], twice as wide as the original's
            n_steps=sizes.num_classes,
            betas="geometric",
            linear_start=2 * sizes.sigma_end,
            linear_end=2 * sizes.sigma_begin,
        ),
        latent_scaling_factor=1.0,
        recommended=RecommendedSettings(
            steps=5 * sizes.num_classes,
            sampler="langevin",
            cfg_scale=1.0,
            cfg_rescale=0.0,
            width=side,
            height=side,
        ),
    )


def _told(path: Path) -> dict[str, Any] | None:
    """The original's configuration beside a file; None if there is none.

    Raises:
        CheckpointError: it is no YAML.
    """
    for beside in (path.with_suffix(".yml"), path.with_name("config.yml"), path.with_name("anneal.yml")):
        if not beside.is_file():
            continue
        # the original writes a Python object's fields, whose class is named and not needed
        content = read_yaml(beside, without="!!python/object:argparse.Namespace")
        if isinstance(content, dict) and isinstance(content.get("model"), dict):
            return content
    return None


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children a prefix has."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
