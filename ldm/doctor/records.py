"""What the doctor finds, as frozen records of plain values; `render` writes them, the UI shows them."""

from dataclasses import asdict, dataclass, field
from typing import Any

FAULTS = {
    "nan": "not a number (NaN)",
    "inf": "infinite",
    "zero": "all zero",
    "constant": "all the same number",
}
"""What can be wrong with the values of a tensor."""


@dataclass(frozen=True)
class Fault:
    """A tensor whose values are not those of a trained network.

    Attributes:
        kind: a key of `FAULTS`.
        count: how many of its values are so.
        grave: the model cannot work with it; others draw attention only (some layers do begin as zeros).
    """

    name: str
    part: str
    kind: str
    count: int
    total: int
    grave: bool


@dataclass(frozen=True)
class PartReport:
    """One part of a model: what it needs beside what the file has.

    Attributes:
        needed: weights that the network has.
        found: how many of them the file has in the right shape.
        parameters: numbers in what the file has for it.
        missing, unexpected: names. misshapen: "name [found] for [needed]".
    """

    part: str
    needed: int
    found: int
    parameters: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, left over or of another shape."""
        return not (self.missing or self.unexpected or self.misshapen)


@dataclass(frozen=True)
class Kind:
    """Tensors of one type of number."""

    dtype: str
    tensors: int
    parameters: int


@dataclass(frozen=True)
class LoraSummary:
    """A LoRA file; with a model beside it also what it does to that.

    Attributes:
        family: what it was made for, "" if unknown. forms, ranks: of its changes.
        changes: weights that it changes. unread: names that say nothing known.
        changes_nothing: every change is zero; None where no tensor was read.
        matched, ignored: counts and names beside a model; None without one.
        strengths: group of layers -> size of the change over the size of what is changed.
        note: sentences.
    """

    family: str
    forms: tuple[str, ...]
    ranks: tuple[int, ...]
    changes: int
    unread: tuple[str, ...]
    changes_nothing: bool | None
    matched: int | None = None
    ignored: tuple[str, ...] | None = None
    strengths: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Report:
    """Everything about one file or folder.

    Attributes:
        path, name: of the file.
        size: in bytes, of all files of a folder.
        title: what it is, as a noun. family, layout, evidence, loads: as `checkpoints.identify` says.
        problem: one sentence why it is refused; "" if it loads.
        sha256, short_hash: of the file's bytes, and AUTOMATIC1111's short name (AutoV2), its first ten
            digits; "" where the weights were not read, and of folders.
        weights: "raw", "averaged" (EMA), or "raw and averaged".
        parts: of a whole model that could be laid out; empty else.
        leftovers: tensors that belong to no network and need not (schedules, counters, training's own).
        kinds: by type of number, most parameters first.
        faults: empty also where the weights were not read; see `scanned`.
        metadata: what is written in the file's header, long values cut.
        lora: of a LoRA file.
        label: what its file says: prediction type, scale and schedule.
        behaviour: sentences on what it predicts, found by asking it; empty where it was not asked.
        mislabelled: one sentence where behaviour contradicts the label, else "".
    """

    path: str
    name: str
    size: int
    title: str
    family: str = ""
    layout: str = ""
    evidence: tuple[str, ...] = ()
    loads: bool = False
    problem: str = ""
    sha256: str = ""
    short_hash: str = ""
    weights: str = ""
    parts: tuple[PartReport, ...] = ()
    leftovers: int = 0
    kinds: tuple[Kind, ...] = ()
    scanned: bool = False
    faults: tuple[Fault, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    lora: LoraSummary | None = None
    label: str = ""
    behaviour: tuple[str, ...] = ()
    mislabelled: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether it loads and nothing was found that would make it run wrong."""
        grave = any(fault.grave for fault in self.faults) or not all(part.is_whole for part in self.parts)
        return self.loads and not self.problem and not grave and not self.mislabelled

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"is_healthy": self.is_healthy}
