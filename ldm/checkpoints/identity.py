"""What `identify` tells, and the counting that needs no knowledge of families."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..models.config import ModelConfig
from .report import Shapes

# beginnings of names -> part of a model, for people
PARTS: dict[str, str] = {
    "model.diffusion_model.": "U-Net",
    "unet/": "U-Net",
    "model_ema.": "averaged U-Net",
    "first_stage_model.": "autoencoder",
    "vae/": "autoencoder",
    "vqvae/": "autoencoder",
    "cond_stage_model.": "conditioner",
    "conditioner.": "conditioner",
    "text_encoder": "conditioner",
    "bert/": "conditioner",
}


@dataclass(frozen=True)
class Identity:
    """What a file is.

    Attributes:
        path: the file or folder.
        family: a word for programs: "sd1", "sdxl", "zoo", "study", "lora", "flux" ...; "unknown".
        title: for people: "Stable Diffusion XL".
        layout: how it is laid out: a key of `FORMATS`, "first stage", or "" where it is neither.
        evidence: why, one sentence without a full stop each.
        loads: whether it can be opened as a model, by names and shapes; or, of a first stage, on Round trip.
        refusal: why not, one sentence or two; empty where it loads.
        parts: part of the model -> (tensors, numbers in them).
        dtypes: type -> tensors that have it.
        ema: whether there are averaged weights beside the last ones.
        metadata: what a .safetensors file carries besides.
        config: the sizes of its networks; None where it is no model, or of a kind that reads more than names.
    """

    path: Path
    family: str
    title: str
    layout: str = ""
    evidence: tuple[str, ...] = ()
    loads: bool = False
    refusal: str = ""
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    ema: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    config: ModelConfig | None = None


def add_up(*pairs: tuple[int, int]) -> tuple[int, int]:
    """Pairs added number by number."""
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def count(
    shapes: Shapes, types: Mapping[str, str], metadata: dict[str, str], named: str | None = None
) -> dict[str, Any]:
    """The fields of an `Identity` that need no knowledge of families."""
    parts: dict[str, tuple[int, int]] = {}
    dtypes: dict[str, int] = {}
    for name, shape in shapes.items():
        part = named or next((words for start, words in PARTS.items() if name.startswith(start)), "other")
        numbers = 1
        for size in shape:
            numbers *= size
        parts[part] = add_up(parts.get(part, (0, 0)), (1, numbers))
        kind = types.get(name, "unknown")
        dtypes[kind] = dtypes.get(kind, 0) + 1
    return {"parts": parts, "dtypes": dtypes, "metadata": metadata}
