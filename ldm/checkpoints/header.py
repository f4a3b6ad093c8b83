"""The header of a .safetensors file, checked before anything is believed: names, kinds, shapes, places.

A header may promise what it likes; here it must add up: every tensor as long as its shape and kind say, one
after the other without gap or overlap, all of them inside the file.  Nothing is allocated by its numbers.
"""

import json
import math
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

# bits of each kind of number
BITS = (
    dict.fromkeys(("F4",), 4)
    | dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6)
    | dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
    | dict.fromkeys(("I16", "U16", "F16", "BF16"), 16)
    | dict.fromkeys(("I32", "U32", "F32"), 32)
    | dict.fromkeys(("I64", "U64", "F64", "C64"), 64)
)
METADATA = "__metadata__"
SHOWN = 60  # characters of a name in a message

Header = dict[str, Any]


def read_header(path: Path) -> Header:
    """Name -> {"dtype", "shape", "data_offsets"}, and the metadata under its own name.

    Raises:
        CheckpointError: it is damaged, contradicts itself, or the file ends before its tensors do.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            raise _cut(path, 8 + length)
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_once)
        metadata = header.get(METADATA) or {}
        spans = [_span(name, entry) for name, entry in header.items() if name != METADATA]
    except _Wrong as error:
        raise CheckpointError(f"{path.name} has a damaged header: {error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"{path.name} has a damaged header.") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path.name} has a damaged header: its metadata is not all text.")
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            what = "overlaps the tensor before it" if start < end else "leaves a gap before it"
            raise CheckpointError(f"{path.name} has a damaged header: {shown(name)} {what}.")
        end = stop
    if size < 8 + length + end:
        raise _cut(path, 8 + length + end)
    if size > 8 + length + end:
        raise CheckpointError(
            f"{path.name} has {size - 8 - length - end} bytes behind its last tensor: it is damaged."
        )
    return dict(header)


def shown(name: str) -> str:
    """A name from a file as a message may show it: on one line, not too long."""
    text = name if len(name) <= SHOWN else name[: SHOWN - 3] + "..."
    return text if text.isprintable() else ascii(text)


class _Wrong(Exception):  # noqa: N818
    """What is wrong with a header, in words."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, every name in it once: of two, readers disagree which one counts."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Wrong(f"{shown(twice)} is in it twice")
    return made


def _span(name: str, entry: dict[str, Any]) -> tuple[int, int, str]:
    """Where a tensor begins and ends."""
    kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in BITS:
        raise _Wrong(f"{shown(name)} is of the unknown kind {shown(str(kind))!r}")
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise _Wrong(f"{shown(name)} has a shape or a place that is none")
    if (stop - start) * 8 != math.prod(shape) * BITS[kind]:
        raise _Wrong(f"{shown(name)} has {stop - start} bytes, which is not what its shape needs")
    return start, stop, name


def _cut(path: Path, whole: int) -> CheckpointError:
    """The error for a file that ends too early."""
    size = path.stat().st_size
    return CheckpointError(f"{path.name} is cut short: {size} of {whole} bytes are here. Download it again.")
