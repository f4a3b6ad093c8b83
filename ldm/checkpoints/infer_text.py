"""What tells a U-Net what to draw, from names and shapes alone: text encoders, classes, neighbours."""

import re
from collections.abc import Callable

from ..errors import CheckpointError
from ..models.condition_config import (
    BERTConfig,
    ClassConfig,
    ConditionConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from ..models.config import UNetConfig
from .report import Shapes

CLIP_SIZE = 49408  # entries of CLIP's vocabulary
IMAGENET = 1000
RDM_LATENTS = 16  # channels
WORDPIECE_SIZE, LAYOUT_LENGTH = 30522, 92
SD2_LAYERS = 24  # of OpenCLIP's ViT-H/14; files that were made from diffusers' lack the one that is not read


def below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The shapes whose names start with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def infer_condition(shapes: Shapes, unet: UNetConfig, name: str) -> ConditionConfig:
    """The sizes of what stands at `cond_stage_model`.

    Args:
        shapes: its tensors by their names below that; none where the file has nothing there.
        name: of the file, for messages.
        unet: what listens: a context that comes from nowhere in the file is one of CLIP embeddings where the
            latents are those of the retrieval-augmented model.

    Raises:
        CheckpointError: the network listens to something that is not in the file.
    """
    for marker, infer in KINDS.items():
        if any(re.match(marker, key) for key in shapes):
            return infer(shapes, unet)
    if unet.context_dim is None:
        return NoConditionConfig()
    if unet.out_channels != RDM_LATENTS:
        raise CheckpointError(
            f"{name} has no text encoder: its network reads a context of {unet.context_dim} numbers a word, "
            "and nothing in the file makes one. With any other it would draw something else."
        )
    return NeighboursConfig(dim=unet.context_dim)


def clip_config(shapes: Shapes) -> TextConfig:
    """CLIP's text encoder as transformers names it, below `text_model.`."""
    words, width = shapes["embeddings.token_embedding.weight"]
    return TextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        num_hidden_layers=_count(shapes, "encoder.layers."),
        num_attention_heads=width // 64 if width % 64 == 0 else 4,  # all of CLIP's have 64 channels per head
        max_position_embeddings=shapes["embeddings.position_embedding.weight"][0],
        tokenizer="clip" if words == CLIP_SIZE else "embedded",
    )


def openclip_config(shapes: Shapes, final_norm: bool = True) -> OpenCLIPConfig:
    """OpenCLIP's text tower as open_clip names it.

    Args:
        final_norm: True in Stable Diffusion 2, False in XL.
    """
    words, width = shapes["token_embedding.weight"]
    layers = _count(shapes, "transformer.resblocks.")
    # of a tower that lacks the layer which is not read, the last one is the one to read
    cut = final_norm and layers == SD2_LAYERS - 1
    projection = shapes.get("text_projection", shapes.get("text_projection.weight"))
    return OpenCLIPConfig(
        vocab_size=words,
        width=width,
        layers=layers,
        heads=max(1, width // 64),  # all of OpenCLIP's have 64 channels per head
        context_length=shapes["positional_embedding"][0],
        embed_dim=width if projection is None else projection[-1],
        hidden_layer=-1 if cut else -2,
        final_norm=final_norm,
        has_projection=projection is not None,
    )


def _clip(shapes: Shapes, _: UNetConfig) -> TextConfig:
    return clip_config(below(shapes, "transformer.text_model."))


def _openclip(shapes: Shapes, _: UNetConfig) -> OpenCLIPConfig:
    return openclip_config(below(shapes, "model."))


def _sdxl(shapes: Shapes, unet: UNetConfig) -> SDXLTextConfig:
    clip = below(shapes, "embedders.0.transformer.text_model.")
    tower = openclip_config(
        below(shapes, "embedders.1.model." if clip else "embedders.0.model."), final_norm=False
    )
    text = None
    if clip:
        found = clip_config(clip)
        text = TextConfig(**vars(found) | {"hidden_layer": -2, "final_norm": False})
    numbers = 6 if clip else 5
    left = (unet.adm_in_channels or 0) - tower.embed_dim
    return SDXLTextConfig(
        clip=text,
        openclip=tower,
        size_dim=max(left // numbers, 2),
        sizes=numbers,
        zero_empty=text is not None,
    )


def _bert(shapes: Shapes, _: UNetConfig) -> BERTConfig:
    words, dim = shapes["transformer.token_emb.weight"]
    layers = _count(shapes, "transformer.attn_layers.layers.")
    inner = next(shape[0] for name, shape in shapes.items() if name.endswith("to_q.weight"))
    length = shapes["transformer.pos_emb.emb.weight"][0]
    wide = inner % 64 == 0
    return BERTConfig(
        vocab_size=words,
        dim=dim,
        depth=layers // 2,  # attention and feed-forward are counted one by one
        heads=inner // 64 if wide else 8,
        head_dim=64 if wide else inner // 8,
        length=length,
        layout=length == LAYOUT_LENGTH and words != WORDPIECE_SIZE,
    )


def _classes(shapes: Shapes, _: UNetConfig) -> ClassConfig:
    """A class more than ImageNet has is the one of no class (cin256-v2)."""
    count, dim = shapes["embedding.weight"]
    return ClassConfig(
        n_classes=count,
        embed_dim=dim,
        null=count - 1 if count == IMAGENET + 1 else None,
        names="imagenet" if count in (IMAGENET, IMAGENET + 1) else "",
    )


def _rescaler(shapes: Shapes, _: UNetConfig) -> NoConditionConfig:
    out, channels = shapes["channel_mapper.weight"][:2]
    return NoConditionConfig(rescaler_channels=channels, rescaler_out=out)


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children a prefix has."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})


# what marks a kind, below `cond_stage_model.` -> its sizes
KINDS: dict[str, Callable[[Shapes, UNetConfig], ConditionConfig]] = {
    r"embedders\.": _sdxl,
    r"transformer\.text_model\.": _clip,
    r"transformer\.attn_layers\.": _bert,
    r"model\.": _openclip,
    r"embedding\.weight": _classes,
    r"channel_mapper\.weight": _rescaler,
}
