"""The text encoders and tokenizers of a diffusers folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..models.condition_config import ConditionConfig, NoConditionConfig, OpenCLIPConfig, SDXLTextConfig
from ..models.config import TextConfig, UNetConfig
from ..models.tokenizer import BOS, EOS, Tokenizer
from .careful import said
from .diffusers_files import read_json
from .diffusers_sizes import read_text_config

MARKS = {"bos": BOS, "eos": EOS, "pad": EOS}


@dataclass(frozen=True)
class Texts:
    """What reads prompts.

    Attributes:
        config: of all of it.
        tokenizer: its vocabulary; None where nothing is read.
        towers: folder of each encoder -> the name ours stands under below `cond_stage_model.`.
    """

    config: ConditionConfig
    tokenizer: Tokenizer | None
    towers: dict[str, str]


def read_texts(
    folder: Path, unet: UNetConfig, unet_values: Mapping[str, Any], index: Mapping[str, Any]
) -> Texts:
    """What reads prompts in a folder, by which parts there are.

    Raises:
        CheckpointError: a part is missing, or none that can be read.
    """
    parts = [name for name in ("text_encoder", "text_encoder_2") if (folder / name).is_dir()]
    if unet.num_classes == "sequential":
        return _sdxl(folder, parts, unet, unet_values, index)
    if (folder / "text_encoder_2").is_dir():
        raise CheckpointError(f"{folder.name} has two text encoders, but its U-Net reads one.")
    if (folder / "bert").is_dir():
        raise CheckpointError(
            f"{folder.name} is text2img-large of the latent diffusion paper in diffusers' layout, "
            "with BERT's text encoder; that cannot be read from a folder. CompVis's own file of it can."
        )
    if not parts and unet.context_dim is None:
        return Texts(NoConditionConfig(), None, {})
    if not parts:
        raise CheckpointError(f"{folder.name} has no text_encoder/.")
    text = read_text_config(read_json(folder / "text_encoder" / "config.json"))
    tokenizer = read_tokenizer(folder / "tokenizer", text)
    if is_openclip(text):  # Stable Diffusion 2's, which ends at the layer that is used
        tower = openclip_config(text, hidden_layer=-1, final_norm=True, projection=0)
        return Texts(replace(tower, pad_token_id=tokenizer.pad), tokenizer, {"text_encoder": ""})
    return Texts(with_marks(text, tokenizer), tokenizer, {"text_encoder": ""})


def _sdxl(
    folder: Path, parts: list[str], unet: UNetConfig, unet_values: Mapping[str, Any], index: Mapping[str, Any]
) -> Texts:
    """Stable Diffusion XL's two towers, or its refiner's one."""
    if not parts:
        raise CheckpointError(f"{folder.name} has no text_encoder/ and no text_encoder_2/.")
    values = read_json(folder / parts[-1] / "config.json")
    text = read_text_config(values)
    if text.intermediate_size != 4 * text.hidden_size:
        raise CheckpointError(f"{parts[-1]}/ of {folder.name} is no text encoder of open_clip.")
    projection = int(values.get("projection_dim", 512))
    large = openclip_config(text, hidden_layer=-2, final_norm=False, projection=projection)
    small: TextConfig | None = None
    if len(parts) == 2:
        small = read_text_config(read_json(folder / parts[0] / "config.json"))
        small = replace(small, hidden_layer=-2, final_norm=False)
    # of two tokenizers the first one goes with the first encoder; they differ in what pads
    pads = read_tokenizer(_tokenizer_of(folder, parts[-1]), text)
    tokenizer = pads if small is None else read_tokenizer(folder / "tokenizer", small)
    size_dim = int(unet_values.get("addition_time_embed_dim") or 256)
    sizes, rest = divmod((unet.adm_in_channels or 0) - projection, size_dim)
    if rest or sizes not in (5, 6):
        raise CheckpointError(
            f"unet/config.json of {folder.name} has projection_class_embeddings_input_dim "
            f"{unet.adm_in_channels}; that is not {projection} and 5 or 6 times {size_dim}."
        )
    config = SDXLTextConfig(
        clip=None if small is None else with_marks(small, tokenizer),
        openclip=replace(large, pad_token_id=pads.pad),
        size_dim=size_dim,
        sizes=sizes,
        # the refiner never had zeros
        zero_empty=small is not None and bool(index.get("force_zeros_for_empty_prompt", True)),
    )
    if small is None:
        return Texts(config, tokenizer, {parts[-1]: "embedders.0."})
    return Texts(config, tokenizer, {parts[0]: "embedders.0.", parts[1]: "embedders.1."})


def is_openclip(text: TextConfig) -> bool:
    """Whether a text encoder of transformers can be one of open_clip's: Stable Diffusion 2's and XL's are."""
    has_its_width = text.intermediate_size == 4 * text.hidden_size and text.layer_norm_eps == 1e-5
    return text.hidden_act == "gelu" and has_its_width


def openclip_config(
    text: TextConfig, *, hidden_layer: int, final_norm: bool, projection: int
) -> OpenCLIPConfig:
    """The same encoder's sizes as open_clip names them.

    Args:
        projection: length of its pooled vector; 0 without one.
    """
    return OpenCLIPConfig(
        vocab_size=text.vocab_size,
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        context_length=text.max_position_embeddings,
        embed_dim=projection or text.hidden_size,
        hidden_layer=hidden_layer,
        final_norm=final_norm,
        has_projection=projection > 0,
        act=text.hidden_act,
    )


def with_marks(text: TextConfig, tokenizer: Tokenizer) -> TextConfig:
    """The sizes with the ids of a tokenizer's marks: those in old files are of another vocabulary."""
    return replace(text, bos_token_id=tokenizer.bos, eos_token_id=tokenizer.eos, pad_token_id=tokenizer.pad)


def read_tokenizer(folder: Path, text: TextConfig) -> Tokenizer:
    """A tokenizer folder of transformers, old (vocab.json and merges.txt) or new (tokenizer.json).

    CLIP's own vocabulary need not be there.

    Raises:
        CheckpointError: it is another vocabulary and not there, or cannot be read.
    """
    named: dict[str, Any] = {}
    for file in ("tokenizer_config.json", "special_tokens_map.json"):  # the second one has the last word
        if (folder / file).is_file():
            values = read_json(folder / file)
            named |= {role: values[f"{role}_token"] for role in MARKS if values.get(f"{role}_token")}
    marks = {role: _content(named.get(role, usual)) for role, usual in MARKS.items()}
    found = _vocabulary(folder)
    length = text.max_position_embeddings
    clip = Tokenizer.clip(length)
    if found is None and text.vocab_size != len(clip.vocab):
        raise CheckpointError(
            f"{folder.parent.name} has a text encoder for {text.vocab_size} words, "
            f"and no {folder.name}/ that lists them."
        )
    if found is None or found["vocab"] == clip.vocab:
        return Tokenizer.clip(length, clip.vocab.get(marks["pad"]))
    ids = {role: found["vocab"].get(mark) for role, mark in marks.items()}
    return Tokenizer.from_dict({**found, "length": length, **ids})


def _vocabulary(folder: Path) -> dict[str, Any] | None:
    """Pieces and merges of a tokenizer folder; None if it has none."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        try:
            vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
            lines = (folder / "merges.txt").read_text("utf-8").split("\n")
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{folder.name}/ cannot be read: {said(error)}.") from error
        return {"vocab": vocab, "merges": [n for n in lines if n and not n.startswith("#version")]}
    if (folder / "tokenizer.json").is_file():
        model = read_json(folder / "tokenizer.json").get("model")
        if isinstance(model, dict) and "vocab" in model and "merges" in model:
            return {"vocab": model["vocab"], "merges": model["merges"]}
    return None


def _tokenizer_of(folder: Path, part: str) -> Path:
    """The tokenizer that goes with a text encoder."""
    own = folder / part.replace("text_encoder", "tokenizer")
    return own if own.is_dir() else folder / "tokenizer"


def _content(token: object) -> str:
    """The text of a special token, which may stand in a record."""
    return str(token.get("content")) if isinstance(token, dict) else str(token)
