"""Files of weights: what kind one is, its tensors, and writing one.

A file is known by its first bytes, whatever it is called.  Tensors are mapped, not copied, where the file
allows it.  Knows nothing about models; `pickles` reads what `torch.save` wrote.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..writing import write_tensors
from .careful import said
from .header import METADATA, read_header
from .pickles import read_pickle

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")  # of pickles
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
TYPES = {  # in a .safetensors header -> in torch
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
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
    metadata = read_header(path).get(METADATA) or {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {said(error)}.") from error


def read_shapes(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of all tensors by name, and the metadata; of a .safetensors file only the header is read.

    Raises:
        CheckpointError: as `read_state_dict`.
    """
    path = Path(path)
    if _kind(path) == "pickle":
        return {name: shape for name, (shape, _) in _pickled(path).items()}, {}
    header = read_header(path)
    metadata = header.pop(METADATA, None) or {}
    return {name: tuple(entry["shape"]) for name, entry in header.items()}, metadata


def read_types(path: str | Path) -> dict[str, str]:
    """The type of every tensor by name, in torch's words ("float16"); of a .safetensors file from the header.

    Raises:
        CheckpointError: as `read_state_dict`.
    """
    path = Path(path)
    if _kind(path) == "pickle":
        return {name: kind for name, (_, kind) in _pickled(path).items()}
    header = read_header(path)
    header.pop(METADATA, None)
    return {name: TYPES.get(entry["dtype"], str(entry["dtype"])) for name, entry in header.items()}


def _pickled(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """(shape, type) of every tensor of a file of `torch.save`, which is gone through once."""
    about = path.stat()
    return _pickled_once(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _pickled_once(path: Path, _size: int, _time: int) -> dict[str, tuple[tuple[int, ...], str]]:
    tensors = read_pickle(path)
    return {key: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in tensors.items()}


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata in the header of a .safetensors file; empty for any other kind, which is not read.

    Raises:
        CheckpointError: as `read_state_dict`.
    """
    path = Path(path)
    return {} if _kind(path) == "pickle" else read_header(path).get(METADATA) or {}


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
    start = _start(path)
    for magic, words in STRANGERS.items():
        if start.lstrip().lower().startswith(magic.lower()):
            raise CheckpointError(f"{path.name} is {words}.")
    if start.startswith(b"PK\x03\x04") or (start[0] == 0x80 and start[1:2] in PROTOCOLS):
        return "pickle"
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER:
        return "safetensors"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        raise CheckpointError(f"{path.name} is a text file, not a file of weights.")
    raise CheckpointError(
        f"{path.name} is not a file of weights: neither .safetensors nor made by torch.save."
    )


def _start(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        CheckpointError: there are none, or it is no file.
    """
    if path.is_dir():
        raise CheckpointError(f"{path.name} is a folder; name a file of weights.")
    try:
        size = path.stat().st_size
        if not path.is_file():  # a pipe would be waited for, a device has no end
            raise CheckpointError(f"{path.name} is a pipe or a device, not a file of weights.")
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {path.name}.") from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {said(error)}.") from error
    if size == 0:
        raise CheckpointError(f"{path.name} is empty.")
    return start
