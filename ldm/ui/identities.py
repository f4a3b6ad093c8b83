"""What a file is and what is wrong with it, as JSON: for the page and for programs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checkpoints import Identity, weights_folder
from ..checkpoints.draft import is_draft
from ..checkpoints.preview import is_preview
from ..doctor import FAULTS, Report
from ..doctor.records import Fault, PartReport
from . import files
from .shelf import identified, is_local, size_of

VERDICTS = OPEN, LOADS, PART, REFUSED = "open", "loads", "part", "refused"
PARTS = ("first_stage", "lora", "textual_inversion")  # families that are something beside a model
ORDER = ("U-Net", "averaged U-Net", "autoencoder", "conditioner", "other")
SHOWN = {"autoencoder": "first stage"}
NAMED = 40  # names that a list on the page spells out
LAYOUTS = {
    "native": "one file of this program",
    "compvis": "one file under CompVis's names",
    "diffusers": "a folder of diffusers",
    "study": "files of the study",
    "pixel": "one file of a network for pixels",
    "first stage": "a first stage",
}


def plain(identity: Identity) -> dict[str, Any]:
    """An identity as JSON, for programs; where it lies ("where") is told this computer's own user only."""
    told = {
        "name": identity.path.name,
        "family": identity.family,
        "title": identity.title,
        "layout": identity.layout,
        "loads": identity.loads,
        "refusal": identity.refusal,
        "evidence": list(identity.evidence),
        "bytes": size_of(identity.path),
        "parts": {part: list(counts) for part, counts in identity.parts.items()},
        "dtypes": identity.dtypes,
        "ema": identity.ema,
        "metadata": {key: _short(value) for key, value in identity.metadata.items()},
        "config": None if identity.config is None else identity.config.to_dict(),
    }
    return told | ({"where": str(identity.path)} if is_local() else {})


def plain_report(report: Report) -> dict[str, Any]:
    """A report as JSON, without its path: gradio's clients take what has one for a file."""
    return {key: value for key, value in report.to_dict().items() if key != "path"}


def place(path: Path) -> str:
    """Where a file lies: in the weights folder from there on, elsewhere from the root."""
    folder = weights_folder()
    return (
        f"{folder.name}/{path.relative_to(folder).as_posix()}" if path.is_relative_to(folder) else str(path)
    )


def card(path: Path, opened: Path, problem: str = "") -> dict[str, Any]:
    """What the page shows of a file first.

    Args:
        opened: the file of the model that is open.
        problem: what a closer look found that keeps it from loading.
    """
    identity = identified(path)
    refusal = problem or belongs(path) or identity.refusal
    verdict = verdict_of(identity, opened, problem)
    said = {
        OPEN: "This is the model that draws.",
        LOADS: "It can be opened.",
    }.get(verdict, refusal)
    return {
        "name": path.name,
        "title": upper(identity.title),
        "verdict": verdict,
        "said": said,
        "facts": [fact for fact in (size(size_of(path)), LAYOUTS.get(identity.layout, "")) if fact],
        "evidence": [upper(line) for line in identity.evidence],
        "parts": [
            {"name": SHOWN.get(part, part), "numbers": identity.parts[part][1]}
            for part in sorted(identity.parts, key=ORDER.index)
        ],
        "where": place(path) if is_local() and not files.is_ours(path) else "",
    }


def verdict_of(identity: Identity, opened: Path, problem: str = "") -> str:
    """`OPEN`, `LOADS`, `PART` of a model, or `REFUSED`.

    Args:
        problem: what a closer look found that keeps it from loading.
    """
    if same(identity.path, opened) and not problem:
        return OPEN
    if identity.family in PARTS or belongs(identity.path):
        return PART
    return LOADS if identity.loads and not problem else REFUSED


def belongs(path: Path) -> str:
    """A sentence on a file that lies beside a model and is part of it; empty for all others."""
    if is_preview(path):
        return "It is the small decoder of the model beside it, which draws the previews."
    if is_draft(path):
        return "It is the draft of the model beside it, which draws in a few steps."
    return ""


def row(name: str, path: Path, opened: Path, chosen: Path | None, problem: str = "") -> dict[str, Any]:
    """A line of the shelf; `problem` as `verdict_of` takes it."""
    identity = identified(path)
    return {
        "name": name,
        "title": upper(identity.title),
        "size": size(size_of(path)),
        "verdict": verdict_of(identity, opened, problem),
        "chosen": chosen is not None and same(path, chosen),
    }


def exam(report: Report) -> dict[str, Any]:
    """A report as the page shows it."""
    told = asdict(report)
    return {
        "state": "done",
        "name": report.name,
        "problem": report.problem,
        "healthy": report.is_healthy,
        "scanned": report.scanned,
        "parts": [_part(part) for part in report.parts],
        "leftovers": report.leftovers,
        "weights": report.weights,
        "kinds": told["kinds"],
        "faults": _faults(report.faults),
        "label": report.label,
        "metadata": [[key, value] for key, value in report.metadata.items()],
        "lora": told["lora"],
        "sha256": report.sha256,
        "short_hash": report.short_hash,
    }


def _part(part: PartReport) -> dict[str, Any]:
    return {
        "name": part.part,
        "needed": part.needed,
        "found": part.found,
        "numbers": part.parameters,
        "whole": part.is_whole,
        "wrong": [listed(words, names) for words, names in lists(part).items() if names],
    }


def lists(part: PartReport) -> dict[str, tuple[str, ...]]:
    """What is wrong with a part -> names of the weights."""
    return {"missing": part.missing, "left over": part.unexpected, "of another shape": part.misshapen}


def _faults(faults: tuple[Fault, ...]) -> list[dict[str, Any]]:
    found = {kind: [fault for fault in faults if fault.kind == kind] for kind in FAULTS}
    return [
        listed(FAULTS[kind], tuple(_fault(fault) for fault in those)) | {"grave": those[0].grave}
        for kind, those in found.items()
        if those
    ]


def _fault(fault: Fault) -> str:
    return f"{fault.name} ({fault.count:,} of {fault.total:,})" if fault.grave else fault.name


def listed(words: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Names of one kind, the first ones spelt out."""
    return {"words": words, "count": len(names), "names": list(names[:NAMED])}


def same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def size(count: int) -> str:
    """Bytes for people: 27.2 MB."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} bytes"


def upper(text: str) -> str:
    """A line with a capital, unless it begins with a name out of a file."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def _short(text: str) -> str:
    return text if len(text) <= 4000 else f"{text[:4000]} ... ({len(text)} characters)"
