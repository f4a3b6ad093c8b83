"""Records to and from plain JSON types.  A field whose type is one of several records carries its `kind`."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..errors import CheckpointError


def build_record(cls: type, values: dict[str, Any]) -> Any:  # noqa: ANN401 - one of several records
    """A record of class `cls` from plain JSON types, records inside it included.

    Raises:
        CheckpointError: a field the class does not know, or a `kind` that none of the possible records has.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise CheckpointError(
            f"{cls.__name__} has no field {unknown[0]!r}; is the file from a newer version?"
        )
    made: dict[str, Any] = {}
    for key, value in values.items():
        records = _records(hints[key])
        if records and isinstance(value, dict):
            made[key] = build_record(_chosen(records, value), value)
        else:
            made[key] = tuple(value) if isinstance(value, list) else value
    return cls(**made)


def _records(hint: Any) -> tuple[type, ...]:  # noqa: ANN401 - a type hint
    """The records a field may hold, the usual one first."""
    several = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(one for one in several if is_dataclass(one) and isinstance(one, type))


def _chosen(records: tuple[type, ...], values: dict[str, Any]) -> type:
    """Which of the records it is; the first where nothing is said, as in files from before others were."""
    kind = values.get("kind")
    if kind is None:
        return records[0]
    for record in records:
        if kind in record.__dict__.get("KINDS", (getattr(record, "kind", None),)):
            return record
    kinds = ", ".join(repr(k) for r in records for k in r.__dict__.get("KINDS", (getattr(r, "kind", None),)))
    raise CheckpointError(f"A config has the kind {kind!r}; known here are {kinds}.")
