"""The names of diffusers and transformers for the weights of this project: one table, used both ways.

A table says of each weight of ours where it lies in a part of a diffusers folder: under which name, or which
three names where ours holds queries, keys and values together.  Names are changed by rules, a pattern and its
replacement each; numbers of blocks become level and place.  Needs no diffusers.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.autoencoder_config import AutoencoderConfig, VQConfig
from ..models.config import UNetConfig

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Place:
    """Where one weight of ours lies in a part of a folder.

    Attributes:
        names: one, or those of queries, keys and values.
        ones: sizes of 1 at the end of our shape that theirs lacks: a 1 x 1 convolution, a linear layer there.
        turned: theirs is the transpose.
        heads: of a weight that holds q, k and v head by head; 0 where they stand one after the other.
    """

    names: tuple[str, ...]
    ones: int = 0
    turned: bool = False
    heads: int = 0

    def join(self, theirs: list[Tensor]) -> Tensor | None:
        """Our weight of theirs; None if theirs do not fit together."""
        first = theirs[0]
        if len(theirs) > 1:
            if any(tensor.shape != first.shape for tensor in theirs) or first.shape[0] % max(self.heads, 1):
                return None
            if self.heads:
                theirs = [tensor.unflatten(0, (self.heads, -1)) for tensor in theirs]
                first = torch.stack(theirs, 1).flatten(0, 2)
            else:
                first = torch.cat(theirs)
        if self.turned:
            first = first.T
        missing = 2 + self.ones - first.ndim
        return first[(..., *[None] * missing)] if self.ones and missing > 0 else first

    def split(self, ours: Tensor) -> tuple[Tensor, ...]:
        """Their weights of ours, one for each of `names`."""
        tensor = ours.flatten(1) if self.ones else ours
        if self.turned:
            return (tensor.T,)
        if len(self.names) == 1:
            return (tensor,)
        if self.heads:
            parts = tensor.unflatten(0, (self.heads, len(self.names), -1)).unbind(1)
            return tuple(part.flatten(0, 1) for part in parts)
        return tensor.chunk(len(self.names))


Table = dict[str, Place]  # our name -> place


def to_ours(table: Table, theirs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a part under our names, and those that the table knows nothing of under theirs.

    What is missing is in neither: strict loading names it.
    """
    ours: dict[str, Tensor] = {}
    claimed: set[str] = set()
    for name, place in table.items():
        if all(key in theirs for key in place.names):
            tensor = place.join([theirs[key] for key in place.names])
            if tensor is not None:
                ours[name] = tensor
                claimed.update(place.names)
    return ours, {key: tensor for key, tensor in theirs.items() if key not in claimed}


def to_theirs(table: Table, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names of a part of a folder; those that the table leaves out are left out."""
    theirs: dict[str, Tensor] = {}
    for name, place in table.items():
        theirs.update(zip(place.names, place.split(ours[name]), strict=True))
    return theirs


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
    (r"^time_cond_proj\.", "time_embedding.cond_proj."),
    (r"^label_emb\.0\.0\.", "add_embedding.linear_1."),
    (r"^label_emb\.0\.2\.", "add_embedding.linear_2."),
    (r"^label_emb\.weight", "class_embedding.weight"),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    *RESNET,
)
PLAIN_ATTENTION: Rules = (  # without a context
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
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
    *PLAIN_ATTENTION,
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)
OPENCLIP: Rules = (
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^transformer\.resblocks\.(\d+)\.", r"text_model.encoder.layers.\1."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
)
OLD: Rules = (  # before diffusers 0.17, in an attention without a context
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)


def renamed(key: str, rules: Rules) -> str:
    """A name after every rule in turn."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def unet_table(config: UNetConfig, keys: Iterable[str]) -> Table:
    """Of a U-Net's weights, named as in `UNetModel`: `UNet2DConditionModel`'s, or `UNet2DModel`'s."""
    table: Table = {}
    for key in keys:
        name = renamed(_block_name(key, config), UNET)
        if config.use_spatial_transformer or ".attentions." not in name:
            table[key] = Place((name,))
            continue
        name, weight = renamed(name, PLAIN_ATTENTION), key.endswith(".weight")
        found = re.fullmatch(r"(.*\.)qkv\.(weight|bias)", name)
        if found:
            heads = 0 if config.use_new_attention_order else _heads(config, key)
            names = tuple(f"{found[1]}to_{letter}.{found[2]}" for letter in "qkv")
            table[key] = Place(names, ones=int(weight), heads=heads)
        else:
            table[key] = Place((name,), ones=int(weight and ".to_out.0." in name))
    return table


def autoencoder_table(config: AutoencoderConfig | VQConfig, keys: Iterable[str]) -> Table:
    """Of an autoencoder's weights: `AutoencoderKL`'s, or `VQModel`'s; attention is linear layers there."""
    sizes = config.autoencoder if isinstance(config, VQConfig) else config
    levels = len(sizes.ch_mult)
    table: Table = {}
    for key in keys:
        place, up = key, re.match(r"decoder\.up\.(\d+)\.", key)
        if up:  # diffusers counts from the coarsest level
            place = f"decoder.up.{levels - 1 - int(up[1])}." + key[up.end() :]
        name = renamed(place, AUTOENCODER)
        is_linear = re.search(r"\.to_(q|k|v|out\.0)\.weight$", name) is not None
        table[key] = Place((name,), ones=2 * is_linear)
    return table


def clip_table(keys: Iterable[str], layers: int) -> Table:
    """Of the weights of CLIP's text encoder, as far as the first `layers` layers: `CLIPTextModel`'s.

    Args:
        keys: named as in `CLIPTextEmbedder`: "transformer.text_model...".
    """
    names = {key: key.removeprefix("transformer.") for key in keys}
    return {key: Place((name,)) for key, name in names.items() if _layer(name) < layers}


def openclip_table(keys: Iterable[str], layers: int) -> Table:
    """Of the weights of an OpenCLIP text tower: transformers' `CLIPTextModel`'s, or the one with projection.

    Args:
        keys: named as in open_clip, below "model.".
        layers: transformers' models end where their output is taken; later layers have no place there.
    """
    table: Table = {}
    for key in keys:
        name = renamed(key.removeprefix("model."), OPENCLIP)
        if name == "logit_scale" or _layer(name) >= layers:
            continue
        found = re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", name)
        if found:
            table[key] = Place(tuple(f"{found[1]}.self_attn.{letter}_proj.{found[2]}" for letter in "qkv"))
        else:
            table[key] = Place((name,), turned=name == "text_projection.weight")
    return table


def below(table: Table, prefix: str) -> Table:
    """The table of a network that stands under a name."""
    return {prefix + key: place for key, place in table.items()}


def _layer(name: str) -> int:
    found = re.match(r"text_model\.encoder\.layers\.(\d+)\.", name)
    return int(found[1]) if found else -1


def resblocks(config: UNetConfig) -> list[int]:
    """ResBlocks per level on the way down."""
    count = config.num_res_blocks
    return [count] * len(config.channel_mult) if isinstance(count, int) else list(count)


def _heads(config: UNetConfig, key: str) -> int:
    """Heads of the attention that a weight is of."""
    if config.num_head_channels == -1:
        return config.num_heads
    level = len(config.channel_mult) - 1
    found = re.match(r"(input|output)_blocks\.(\d+)\.", key)
    if found:
        level = _level_and_place(config, found[1] == "input", int(found[2]))[0]
    return config.model_channels * config.channel_mult[level] // config.num_head_channels


def _level_and_place(config: UNetConfig, is_down: bool, number: int) -> tuple[int, int]:
    """Level, counted from the finest, and place in it of a numbered block."""
    counts = resblocks(config)
    if is_down:  # on the way down, one more that halves
        level, place, sizes = 0, number - 1, [count + 1 for count in counts]
        while place >= sizes[level]:
            place -= sizes[level]
            level += 1
        return level, place
    level, place = len(counts) - 1, number
    while place >= counts[level] + 1:
        place -= counts[level] + 1
        level -= 1
    return level, place


def _block_name(key: str, config: UNetConfig) -> str:
    """`input_blocks.7.1.` and the like as level and place: `down_blocks.2.attentions.0.`."""
    found = re.match(r"(input|output)_blocks\.(\d+)\.(\d+)\.", key)
    if found is None or found[0].startswith("input_blocks.0."):
        return key
    rest, part, is_down = key[found.end() :], int(found[3]), found[1] == "input"
    level, place = _level_and_place(config, is_down, int(found[2]))
    # diffusers counts from the coarsest level on the way up
    block = f"down_blocks.{level}." if is_down else f"up_blocks.{len(config.channel_mult) - 1 - level}."
    if is_down and place == resblocks(config)[level]:
        return f"{block}downsamplers.0.conv." + rest.removeprefix("op.")
    if part == 0:
        return f"{block}resnets.{place}.{rest}"
    is_upsampler = rest.startswith("conv.")
    return f"{block}upsamplers.0.{rest}" if is_upsampler else f"{block}attentions.{place}.{rest}"
