"""Values of tensors, a piece at a time: what is not a number, infinite, zero or always the same.

Tensors are windows into the file where it allows it, and no more than `PIECE` numbers are ever turned into
float32, so that memory stays where it is whatever the size of the file.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .records import Fault, Kind

PIECE = 2**22  # numbers looked at in one go
BLOCK = 2**22  # bytes hashed in one go
PARTS = {
    "model.diffusion_model.": "U-Net",
    "model_ema.": "averaged weights",
    "first_stage_model.": "first stage",
    "cond_stage_model.": "conditioner",
    "conditioner.": "conditioner",
    "preview.": "preview",
    "lora_": "LoRA",
}
Progress = Callable[[float], None]


def part_of(name: str) -> str:
    """The part of a model that a weight belongs to, by its name."""
    return next((part for start, part in PARTS.items() if name.startswith(start)), "other")


def kinds(tensors: Mapping[str, Tensor]) -> tuple[Kind, ...]:
    """Types of numbers, the one with most parameters first."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for tensor in tensors.values():
        entry = found[str(tensor.dtype).removeprefix("torch.")]
        entry[0] += 1
        entry[1] += tensor.numel()
    made = (Kind(dtype, count, parameters) for dtype, (count, parameters) in found.items())
    return tuple(sorted(made, key=lambda kind: -kind.parameters))


def faults(tensors: Mapping[str, Tensor], progress: Progress | None = None) -> tuple[Fault, ...]:
    """What is wrong with values, in the order of the tensors.

    Args:
        progress: told the share that is done, 0 to 1.
    """
    found: list[Fault] = []
    total, done = sum(tensor.numel() for tensor in tensors.values()) or 1, 0
    for name, tensor in tensors.items():
        found += _faults(name, tensor)
        done += tensor.numel()
        if progress is not None:
            progress(done / total)
    return tuple(found)


def _faults(name: str, tensor: Tensor) -> Iterator[Fault]:
    count, part = tensor.numel(), part_of(name)
    if not count or not tensor.is_floating_point():
        return
    nan = infinite = 0
    low, high = float("inf"), float("-inf")
    for piece in _pieces(tensor):
        # one pass where all is well, which is nearly always
        least, most = (float(value) for value in piece.aminmax())
        if not (abs(least) < float("inf") and abs(most) < float("inf")):
            nan += int(piece.isnan().sum())
            infinite += int(piece.isinf().sum())
        low, high = min(low, least), max(high, most)
    if nan:
        yield Fault(name, part, "nan", nan, count, grave=True)
    if infinite:
        yield Fault(name, part, "inf", infinite, count, grave=True)
    # norms and biases begin as ones and zeros, and may stay so; what has rows and columns is learned
    if low == high and not (nan or infinite) and tensor.ndim > 1 and count > 1:
        yield Fault(name, part, "zero" if low == 0 else "constant", count, count, grave=False)


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """At most `PIECE` numbers at a time, in float32 or float64."""
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), PIECE):
        piece = flat[start : start + PIECE]
        yield piece if piece.dtype == torch.float64 else piece.float()


def sha256(path: Path, progress: Progress | None = None) -> str:
    """Of a file's bytes, in hexadecimal."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size or 1
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            if progress is not None:
                progress(done / size)
    return digest.hexdigest()
