"""Whether the numbers of a config can be those of any network, before anything is built by them.

A file may claim a billion blocks: building them one by one takes for ever, also without memory.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from ..errors import CheckpointError

LARGEST = 2**24  # of any width, length or number of words
MOST_BLOCKS = 512  # of one kind
MOST_TIMESTEPS = 100_000
REPEATED = ("blocks", "layers", "depth", "stages")  # in the names of numbers that blocks are counted by
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
WIDTHS = ("channel_mult", "model_channels", "ch", "ch_mult", "z_channels", "hidden_size")
FREE = ("vocabulary", "synonyms", "plurals", "words", "examples", "training")  # for people


def check_sizes(record: Any, owner: str = "") -> None:  # noqa: ANN401 - any record of numbers
    """Raise CheckpointError for a number in a record, or in records inside it, that no network has."""
    for field in fields(record):
        if field.name in FREE:
            continue
        value, name = getattr(record, field.name), owner + field.name
        if is_dataclass(value):
            check_sizes(value, name + ".")
            continue
        kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
        if not isinstance(value, KINDS.get(kind, (object,))) or (kind in ("int", "float") and value is True):
            raise CheckpointError(f"{name} must be of type {kind}, got {value!r:.40}.")
        for number in value if isinstance(value, tuple) else (value,):
            _check(name, field.name, number)
        if isinstance(value, tuple) and len(value) > MOST_BLOCKS:
            raise CheckpointError(f"{name} has {len(value)} entries, more than any network ({MOST_BLOCKS}).")


def check_between(name: str, value: object, most: float = math.inf) -> None:
    """Raise CheckpointError if a value is no number between 0 and `most`, both left out."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
        allowed = "a finite number above 0" if most == math.inf else f"between 0 and {most:g}"
        raise CheckpointError(f"{name} must be {allowed}, got {value!r:.40}.")


def _check(name: str, field: str, number: object) -> None:
    if isinstance(number, bool) or not isinstance(number, int):
        return
    most = MOST_BLOCKS if any(word in field for word in REPEATED) else LARGEST
    least = 1 if field in WIDTHS else -1  # -1 says "the other one counts"
    if field == "n_steps":
        least, most = 1, MOST_TIMESTEPS
    if field == "hidden_layer":  # counted from the last one
        least, most = -MOST_BLOCKS, MOST_BLOCKS
    if not least <= number <= most:
        raise CheckpointError(f"{name} must be between {least} and {most}, got {number}.")
