"""Files are written whole or not at all: beside their place first, then moved there.

Tensors go into .safetensors files piece by piece: the library's own writer would hold a copy or two of them.
"""

import json
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from .errors import LdmError

ALIGNMENT = 64  # bytes; where vector kernels want a tensor to start
DTYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_file(
    path: str | Path, parts: Iterable[bytes | memoryview], kind: type[LdmError] = LdmError
) -> None:
    """Write `parts` one after the other as the file `path`; what was there before stays until all is written.

    Raises:
        LdmError: (of class `kind`) the disk is full, the folder is missing, or it may not be written to.
    """
    path = Path(path)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            for data in parts:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave an empty file under the final name
        part.replace(path)
    except OSError as error:
        raise kind(f"{path.name} could not be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    kind: type[LdmError] = LdmError,
) -> None:
    """Write a .safetensors file, whole or not at all.

    Raises:
        LdmError: (of class `kind`) as `write_file`.
    """
    write_file(path, _safetensors(tensors, metadata), kind)


def _safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that each one is aligned
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": DTYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)  # a reader that maps the file gets most tensors aligned
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        yield tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
