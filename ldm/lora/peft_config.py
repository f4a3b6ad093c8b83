"""How strong peft says a LoRA is: `adapter_config.json` beside the file, or the same inside its metadata.

A file without either is applied as it is, alpha = rank, which is what diffusers does.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

PARTS = ("unet", "text_encoder", "text_encoder_2")
INSIDE = "lora_adapter_metadata"  # diffusers' key for it in the metadata of a file


@dataclass(frozen=True)
class PeftConfig:
    """What a config of peft says of the strength.

    Attributes:
        alpha: of layers that `patterns` does not name.
        patterns: end of a layer's name, as a regular expression -> its alpha.
        rank_stabilised: the scale is alpha over the root of the rank (Kalajdzievski 2023, arXiv:2312.03732).
    """

    alpha: float
    patterns: Mapping[str, float] = field(default_factory=dict)
    rank_stabilised: bool = False

    def scale(self, layer: str, rank: int) -> float:
        """What `up @ down` of a layer is multiplied by."""
        named = (a for pattern, a in self.patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer))
        return next(named, self.alpha) / (rank**0.5 if self.rank_stabilised else rank)


def peft_configs(file: Path, metadata: Mapping[str, str], prefix: str) -> dict[str, PeftConfig]:
    """What configs say, by the beginning of the names they hold for.

    Args:
        file: a config may lie beside it.
        metadata: of the file.
        prefix: what all names of the file are taken to begin with.

    Raises:
        CheckpointError: a config is broken, or of a method that is no LoRA.
    """
    beside = file.parent / "adapter_config.json"
    if file.stem == "adapter_model" and beside.is_file():
        try:
            told = json.loads(beside.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{beside.name} beside {file.name} cannot be read: {error}.") from error
        return {prefix: _config(told, beside.name)}
    if INSIDE not in metadata:
        return {}
    try:
        told = json.loads(metadata[INSIDE])
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file.name} has a broken {INSIDE}: {error}.") from error
    if not isinstance(told, dict):
        raise CheckpointError(f"{file.name} has a broken {INSIDE}: it is no table.")
    parts = {part: _below(told, f"{part}.") for part in PARTS}
    found = {f"{part}.": _config(told, file.name) for part, told in parts.items() if told}
    return found or {prefix: _config(told, file.name)}


def _below(told: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in told.items() if key.startswith(prefix)}


def _config(told: object, name: str) -> PeftConfig:
    if not isinstance(told, dict):
        raise CheckpointError(f"{name} is no config of peft: it is no table.")
    method = told.get("peft_type", "LORA")
    method = "DORA" if told.get("use_dora") else method
    if method != "LORA":
        raise CheckpointError(f"{name} is of {str(method)[:20]}, which cannot be applied; LORA can.")
    alpha: Any = told.get("lora_alpha", 8)  # peft's own default
    patterns = told.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(map(_is_number, (alpha, *patterns.values()))):
        raise CheckpointError(f"{name} has a lora_alpha or an alpha_pattern that is no number.")
    try:
        for pattern in patterns:
            re.compile(pattern)
    except re.error as error:
        raise CheckpointError(f"{name} has an alpha_pattern that cannot be read: {error}.") from error
    return PeftConfig(
        float(alpha), {key: float(value) for key, value in patterns.items()}, bool(told.get("use_rslora"))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
