"""Files of weights: what kind one is, its tensors, and writing one.

A file is known by its first bytes, whatever it is called.  Tensors are mapped, not copied, where the file
allows it.  Knows nothing about models; `pickles` reads what `torch.save` wrote.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..writing import write_tensors
from .pickles import read_pickle

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
STRANGERS: dict[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch that with `git lfs pull`",
    b"GGUF": "a GGUF file; quantised files of that kind cannot be read",
    b"<!doctype html": "a web page; whoever downloaded it may have had to log in first",
    b"<html": "a web page; whoever downloaded it may have had to log in first",
    b"<?xml": "an XML file, perhaps the error page of a download",
    b"\x89HDF": "an HDF5 file, as Keras writes; those cannot be read",
    b"Rar!": "a RAR archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}


def read_state_dict(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file of weights, by name, and its metadata (empty but for .safetensors).

    Args:
        path: a .safetensors file, or one of `torch.save`, nested or not.
        device: where to; on the CPU tensors are windows into the file: do not write into them.

    Raises:
        CheckpointError: there is no such file, or it is none that weights can be read from.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "pickle":
        return read_pickle(path, device), {}
    metadata = _header(path).get("__metadata__") or {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}.") from error


def read_shapes(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of all tensors by name, and the metadata; of a .safetensors file only the header is read.

    Raises:
        CheckpointError: as `read_state_dict`.
    """
    path = Path(path)
    if _kind(path) == "pickle":
        return {name: tuple(tensor.shape) for name, tensor in read_pickle(path).items()}, {}
    header = _header(path)
    metadata = header.pop("__metadata__", None) or {}
    return {name: tuple(entry["shape"]) for name, entry in header.items()}, metadata


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata in the header of a .safetensors file; empty for any other kind, which is not read.

    Raises:
        CheckpointError: as `read_state_dict`.
    """
    path = Path(path)
    return {} if _kind(path) == "pickle" else _header(path).get("__metadata__") or {}


def write_state_dict(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file, whole or not at all.

    Raises:
        CheckpointError: the disk is full, the folder is missing, or it may not be written to.
    """
    write_tensors(path, tensors, {"format": "pt", **metadata}, CheckpointError)


def _kind(path: Path) -> str:
    """What a file is by its first bytes: "safetensors" or "pickle".

    Raises:
        CheckpointError: there is no such file, or it is something else.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name a file of weights.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {path}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    if size == 0:
        raise CheckpointError(f"{path.name} is empty.")
    for magic, words in STRANGERS.items():
        if start.lstrip().lower().startswith(magic.lower()):
            raise CheckpointError(f"{path.name} is {words}.")
    if start.startswith(b"PK\x03\x04") or (start[0] == 0x80 and start[1:2] in b"\x02\x03\x04\x05"):
        return "pickle"
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER:
        return "safetensors"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        raise CheckpointError(f"{path.name} is a text file, not a file of weights.")
    raise CheckpointError(
        f"{path.name} is not a file of weights: neither .safetensors nor made by torch.save."
    )


def _header(path: Path) -> dict[str, Any]:
    """The header of a .safetensors file.

    Raises:
        CheckpointError: it is damaged, or the file ends before its tensors do.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        end = max((e["data_offsets"][1] for key, e in header.items() if key != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        if len(text) < length:
            raise _cut(path, 8 + length) from error
        raise CheckpointError(f"{path.name} has a damaged header.") from error
    if path.stat().st_size < 8 + length + end:
        raise _cut(path, 8 + length + end)
    return header


def _cut(path: Path, whole: int) -> CheckpointError:
    """The error for a file that ends too early."""
    size = path.stat().st_size
    return CheckpointError(f"{path.name} is cut short: {size} of {whole} bytes are here. Download it again.")
