"""Sizes of the study's networks from the names and shapes of its files.

What those cannot tell, the heads of every attention and the groups of every norm, its YAML file says; without
one they are those of the configs that its repository publishes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..errors import CheckpointError
from ..models.study_config import StudyAutoencoderConfig, StudyUNetConfig
from .report import Shapes

Value = TypeVar("Value")
UNET_NEEDS = ("t_proj.0.weight", "downs.0.resnet_conv_first.0.2.weight", "conv_out.weight")
STAGE_NEEDS = ("encoder_conv_in.weight", "pre_quant_conv.weight", "decoder_conv_in.weight")
WRAPPERS = ("module.", "_orig_mod.")  # of a network that was trained on several devices, or compiled
WRITTEN_OUT = re.compile(r"^(down|mid|up)_block_(\d+)\.")  # the names of the study's text: `down_block_0.`
CODEBOOK = "embedding.weight"
HEADS, MNIST_HEADS, GROUPS = 4, 16, 32  # of the published autoencoders, by their pictures' channels; of all
UNET_HEADS = 16


def house_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Tensors, or shapes, under the repository's names, whichever of its layouts they come in."""
    return {_house_name(name): value for name, value in tensors.items()}


def looks_like_study(names: Sequence[str] | Mapping[str, Any]) -> str | None:
    """What a file with such names is: "study" (a U-Net), "study_vqvae", "study_vae"; None if none of them."""
    known = {_house_name(name) for name in names}
    if known.issuperset(UNET_NEEDS):
        return "study"
    if known.issuperset(STAGE_NEEDS):
        return "study_vqvae" if CODEBOOK in known else "study_vae"
    return None


def config_of_unet(shapes: Shapes, yaml: Mapping[str, Any] | None = None) -> StudyUNetConfig:
    """Sizes of a U-Net.

    Args:
        shapes: of its file, in either layout.
        yaml: what the study's YAML file holds; None is without one.

    Raises:
        CheckpointError: a weight that tells a size is missing, or the sizes do not fit together.
    """
    params = section(yaml, "ldm_params")
    return StudyUNetConfig(**told_of_unet(shapes), **_untold(params, UNET_HEADS))


def config_of_autoencoder(shapes: Shapes, yaml: Mapping[str, Any] | None = None) -> StudyAutoencoderConfig:
    """Sizes of a VQVAE or a VAE; arguments and errors as `config_of_unet`."""
    told = told_of_autoencoder(shapes)
    heads = MNIST_HEADS if told["im_channels"] == 1 else HEADS
    return StudyAutoencoderConfig(**told, **_untold(section(yaml, "autoencoder_params"), heads))


def told_of_unet(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a U-Net's file tell, as fields of `StudyUNetConfig`; errors as `config_of_unet`."""
    written_out = any(WRITTEN_OUT.match(_unwrapped(name)) for name in shapes)
    found = _Found(house_names(shapes))
    downs, mids, ups = (found.blocks(part) for part in ("downs", "mids", "ups"))
    has_mask = "cond_conv_in.weight" in found.shapes
    first = "conv_in_concat.weight" if has_mask else "conv_in.weight"
    context = f"{downs[0]}context_proj.0.weight"
    return {
        "im_channels": found.size("conv_out.weight", 0),
        "down_channels": (found.size(first, 0), *found.widths(downs)),
        "mid_channels": (found.first(mids[0]), *found.widths(mids)),
        "time_emb_dim": found.size("t_proj.0.weight", 1),
        **found.down_flags(downs),
        "num_down_layers": found.layers(downs),
        "num_mid_layers": found.layers(mids) - 1,
        "num_up_layers": found.layers(ups),
        "conv_out_channels": found.size("conv_out.weight", 1),
        "text_dim": found.size(context, 1) if context in found.shapes else None,
        "n_classes": found.size("class_emb.weight", 0) if "class_emb.weight" in found.shapes else None,
        "mask_channels": found.size("cond_conv_in.weight", 1) if has_mask else None,
        "mask_out": found.size("cond_conv_in.weight", 0) if has_mask else None,
        "names": "study" if written_out else "repo",
    }


def told_of_autoencoder(shapes: Shapes) -> dict[str, Any]:
    """The same of an autoencoder's file, as fields of `StudyAutoencoderConfig`."""
    found = _Found(house_names(shapes))
    downs, mids, ups = (found.blocks(p) for p in ("encoder_layers", "encoder_mids", "decoder_layers"))
    codes = {"codebook_size": found.size(CODEBOOK, 0)} if CODEBOOK in found.shapes else {}
    return {
        "im_channels": found.size("encoder_conv_in.weight", 1),
        "z_channels": found.size("post_quant_conv.weight", 0),
        "down_channels": (found.size("encoder_conv_in.weight", 0), *found.widths(downs)),
        "mid_channels": (found.first(mids[0]), *found.widths(mids)),
        **found.down_flags(downs),
        "num_down_layers": found.layers(downs),
        "num_mid_layers": found.layers(mids) - 1,
        "num_up_layers": found.layers(ups),
        "kind": "study_vqvae" if codes else "study_vae",
        **codes,
    }


def section(yaml: Mapping[str, Any] | None, *names: str) -> Mapping[str, Any]:
    """A part of the study's YAML, `ldm_params` and so on; empty where there is none."""
    part: Any = yaml or {}
    for name in names:
        part = part.get(name) if isinstance(part, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def number(params: Mapping[str, Any], name: str, usual: float, below: float = math.inf) -> float:
    """A number of the YAML, above 0 and below `below`.

    Raises:
        CheckpointError: it is something else.
    """
    value = params.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
        most = "" if below == math.inf else f" and below {below:g}"
        raise CheckpointError(f"{name} must be a number above 0{most}, got {value!r}.")
    return value


def whole(params: Mapping[str, Any], name: str, usual: int) -> int:
    """A whole number of the YAML, above 0; errors as `number`."""
    value = number(params, name, usual)
    if value != int(value):
        raise CheckpointError(f"{name} must be a whole number, got {value!r}.")
    return int(value)


def _untold(params: Mapping[str, Any], heads: int) -> dict[str, Any]:
    """What no shape tells."""
    return {
        "num_heads": whole(params, "num_heads", heads),
        "norm_channels": whole(params, "norm_channels", GROUPS),
    }


def _house_name(name: str) -> str:
    return WRITTEN_OUT.sub(r"\1s.\2.", _unwrapped(name))


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


class _Found:
    """What the names and shapes of a file say.

    Args:
        shapes: under the repository's names.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes

    def size(self, name: str, axis: int) -> int:
        """One length of a weight."""
        shape = self.shapes.get(name)
        if shape is None or len(shape) <= axis:
            raise CheckpointError(f"There is no weight {name}, or one of another shape.")
        return shape[axis]

    def blocks(self, part: str) -> list[str]:
        """The prefixes of a list of blocks: "downs.0.", "downs.1." ..."""
        numbers = {name.split(".")[1] for name in self.shapes if name.startswith(f"{part}.")}
        return [f"{part}.{i}." for i in range(max(len(numbers), 1))]

    def layers(self, blocks: Sequence[str]) -> int:
        """How many residual layers each block has, by the first."""
        start = f"{blocks[0]}residual_input_conv."
        return len({name for name in self.shapes if name.startswith(start) and name.endswith(".weight")})

    def first(self, block: str) -> int:
        """Channels that a block is given."""
        return self.size(f"{block}residual_input_conv.0.weight", 1)

    def widths(self, blocks: Sequence[str]) -> tuple[int, ...]:
        """Channels that each block gives."""
        return tuple(self.size(f"{block}residual_input_conv.0.weight", 0) for block in blocks)

    def down_flags(self, blocks: Sequence[str]) -> dict[str, tuple[bool, ...]]:
        """Which blocks halve the size, and which have attention."""
        return {
            "down_sample": tuple(f"{block}down_sample_conv.weight" in self.shapes for block in blocks),
            "attn_down": tuple(f"{block}attentions.0.in_proj_weight" in self.shapes for block in blocks),
        }
