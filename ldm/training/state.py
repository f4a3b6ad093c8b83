"""Training state on disk: atomic, without pickle, so that a training can be cut off at any moment."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ..writing import write_tensors


@dataclass(frozen=True)
class TrainStep:
    """What happened in one training step.

    Attributes:
        step: steps made, from 1.
        samples: pictures (or crops) seen so far.
        loss: the training loss of this step.
        grad_norm: before clipping.
        rate: pictures per second since the training was (re)started.
    """

    part: str
    step: int
    samples: int
    loss: float
    grad_norm: float
    rate: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def save_state(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and JSON in one file; the old one stays whole until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, {"info": json.dumps(info)})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `save_state`."""
    with safe_open(path, framework="pt") as file:
        info = json.loads((file.metadata() or {}).get("info", "{}"))
        return {key: file.get_tensor(key).clone() for key in file.keys()}, info  # noqa: SIM118


def log_line(folder: Path, values: dict[str, Any]) -> None:
    """Append one JSON line to the folder's log."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\n")


def generator_for(*numbers: int) -> torch.Generator:
    """A random generator that is a function of its arguments, so that any step can be made again."""
    seed = 0x9E3779B97F4A7C15
    for number in numbers:
        seed = ((seed ^ (number + 1)) * 0xBF58476D1CE4E5B9) % 2**64
        seed ^= seed >> 29
    return torch.Generator().manual_seed(seed % 2**63)
