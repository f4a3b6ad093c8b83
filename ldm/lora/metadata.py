"""What the trainer of a LoRA wrote into its file, for people; nothing of it is needed to apply one.

Whatever is missing, of another kind or broken is left out: anyone may have written it.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_TAGS = 20
MOST_LETTERS = 200


@dataclass(frozen=True)
class LoraMetadata:
    """What a file says of itself; empty where it says nothing.

    Attributes:
        title: a name for people.
        base_model: what it was trained on, in the trainer's words: "sd_v1", "sdxl_base_v1-0" ...
        base_file: the checkpoint's file name.
        network: the trainer's module: "networks.lora", "lycoris.kohya" ...
        dim, alpha: rank and alpha that were asked for.
        trigger: the phrase that its maker says to write into the prompt.
        tags: the words of the training captions and how often each stood there, the most frequent first.
        pictures: how many it was trained on; 0 where that is not said.
    """

    title: str = ""
    base_model: str = ""
    base_file: str = ""
    network: str = ""
    dim: str = ""
    alpha: str = ""
    trigger: str = ""
    tags: tuple[tuple[str, int], ...] = ()
    pictures: int = 0


def read_lora_metadata(metadata: Mapping[str, str]) -> LoraMetadata:
    """The metadata of a .safetensors file as kohya's trainer writes it, and of the modelspec standard."""

    def first(*keys: str) -> str:
        values = (str(metadata.get(key, "")).strip() for key in keys)
        return next((value[:MOST_LETTERS] for value in values if value not in ("", "None")), "")

    pictures = first("ss_num_train_images")
    return LoraMetadata(
        title=first("modelspec.title", "ss_output_name"),
        base_model=first("ss_base_model_version", "modelspec.architecture"),
        base_file=first("ss_sd_model_name"),
        network=first("ss_network_module"),
        dim=first("ss_network_dim"),
        alpha=first("ss_network_alpha"),
        trigger=first("modelspec.trigger_phrase"),
        tags=_tags(metadata.get("ss_tag_frequency", "")),
        pictures=int(pictures) if pictures.isascii() and pictures.isdigit() else 0,
    )


def _tags(text: str) -> tuple[tuple[str, int], ...]:
    """The most frequent tags of `{folder: {tag: count}}`."""
    counts: Counter[str] = Counter()
    folders = _parsed(text)
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and not isinstance(count, bool) and count > 0 and tag.strip():
                counts[tag.strip()[:MOST_LETTERS]] += count
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_TAGS])


def _parsed(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
