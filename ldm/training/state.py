"""Training state on disk: atomic, without pickle, so that a training can be cut off at any moment."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from ..writing import write_tensors

log = logging.getLogger(__name__)


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


class Log:
    """What a training says of itself: one JSON line a time, and TensorBoard's files where it is installed.

    Args:
        folder: of the training; scalars and sample grids go to its `tensorboard/`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        self._writer = _tensorboard(folder / "tensorboard")

    def write(self, step: TrainStep) -> None:
        """Append one step."""
        with self.path.open("a") as file:
            file.write(json.dumps(step.to_dict()) + "\n")
        if self._writer is not None:
            for name in ("loss", "grad_norm", "rate"):
                self._writer.add_scalar(f"{step.part}/{name}", getattr(step, name), step.samples)
            self._writer.flush()

    def picture(self, path: Path, samples: int) -> None:
        """Show a sample grid."""
        if self._writer is not None:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            self._writer.add_image("samples", pixels, samples, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


def _tensorboard(folder: Path) -> Any:  # noqa: ANN401 - its writer, whose package may not be there
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed (requirements-train.txt): scalars go to log.jsonl alone")
        return None
    return SummaryWriter(str(folder))


def generator_for(*numbers: int) -> torch.Generator:
    """A random generator that is a function of its arguments, so that any step can be made again."""
    seed = 0x9E3779B97F4A7C15
    for number in numbers:
        seed = ((seed ^ (number + 1)) * 0xBF58476D1CE4E5B9) % 2**64
        seed ^= seed >> 29
    return torch.Generator().manual_seed(seed % 2**63)
