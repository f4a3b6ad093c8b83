"""Reports and ledgers as text, which is also Markdown."""

from collections.abc import Iterable, Sequence

from .ledger import Row, Shape, totals
from .records import FAULTS, Fault, LoraSummary, PartReport, Report

NAMED = 5  # names that a line spells out
MEGABYTE = 2**20


def render(report: Report) -> str:
    """A report as Markdown, which also reads well as it is."""
    lines = [f"# {report.name}", "", f"{_upper(report.title)}; {report.size / MEGABYTE:,.1f} MB."]
    if report.problem:
        lines += ["", f"**Refused:** {report.problem}"]
    elif report.is_healthy:
        lines += ["", "Loads; nothing is missing, left over or of another shape."]
    lines += _section(
        "Why", (f"{sentence}." if not sentence.endswith(".") else sentence for sentence in report.evidence)
    )
    lines += _section("Label", [report.label] if report.label else [])
    lines += _section(
        "Behaviour", (*report.behaviour, *((f"**{report.mislabelled}**",) if report.mislabelled else ()))
    )
    lines += _section("Parts", (line for part in report.parts for line in _part(part)))
    if report.leftovers:
        lines.append(f"- {report.leftovers} tensors belong to no network and need not")
    lines += _section(
        "Numbers",
        (f"{kind.dtype}: {kind.parameters:,} in {kind.tensors} tensors" for kind in report.kinds),
    )
    if report.weights:
        lines.append(f"- weights: {report.weights}")
    lines += _section("Values", _values(report))
    if report.lora is not None:
        lines += _section("LoRA", _lora(report.lora))
    lines += _section("Metadata", (f"{key}: {value}" for key, value in report.metadata.items()))
    if report.sha256:
        lines += _section("Hash", (f"sha256 {report.sha256}", f"AutoV2 {report.short_hash}"))
    return "\n".join(lines) + "\n"


def render_ledger(rows: Sequence[Row]) -> str:
    """A ledger as a Markdown table whose columns line up."""
    head = ("part", "block", "kind", "in", "out", "parameters", "queries")
    table = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in table
    ]
    written.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sums = "; ".join(f"{part} {count:,}" for part, count in totals(list(rows)).items())
    return "\n".join([*written, "", f"Parameters: {sums}."]) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    asked = "" if row.queries is None else f"{row.queries[0]} of {row.queries[1]}"
    return (
        row.part,
        row.name,
        row.kind,
        _size(row.shape_in),
        _size(row.shape_out),
        f"{row.parameters:,}",
        asked,
    )


def _size(shape: Shape | None) -> str:
    """Height, width, channels: 32x32x4."""
    if shape is None:
        return "-"
    return "x".join(map(str, (*shape[1:], shape[0]))) if len(shape) == 3 else "x".join(map(str, shape))


def _section(title: str, lines: Iterable[str]) -> list[str]:
    written = [f"- {line}" for line in lines]
    return ["", f"## {title}", *written] if written else []


def _part(part: PartReport) -> Iterable[str]:
    yield f"{part.part}: {part.found} of {part.needed} weights, {part.parameters:,} numbers"
    for words, names in (
        ("missing", part.missing),
        ("unexpected", part.unexpected),
        ("of another shape", part.misshapen),
    ):
        if names:
            yield f"{part.part}: **{len(names)} {words}**: {_first(names)}"


def _values(report: Report) -> Iterable[str]:
    if not report.scanned:
        return
    if not report.faults:
        yield "every value is a number, and no weight is all zero or constant"
    for kind, words in FAULTS.items():
        found = [fault for fault in report.faults if fault.kind == kind]
        if found:
            have = "have values that are" if found[0].grave else "are"
            yield f"{len(found)} tensors {have} {words}: {_first([_named(fault) for fault in found])}"


def _named(fault: Fault) -> str:
    return f"{fault.name} ({fault.count:,} of {fault.total:,})" if fault.grave else fault.name


def _lora(lora: LoraSummary) -> Iterable[str]:
    ranks = ", ".join(map(str, lora.ranks)) or "none"
    if lora.changes:
        made_for = f" for {lora.family}" if lora.family else ""
        yield f"{lora.changes} changes{made_for}; forms {', '.join(lora.forms)}; ranks {ranks}"
    if lora.unread:
        yield f"{len(lora.unread)} names say nothing known: {_first(lora.unread)}"
    if lora.matched is not None:
        ignored = lora.ignored or ()
        yield f"{lora.matched} matched, {len(ignored)} ignored" + (f": {_first(ignored)}" if ignored else "")
    for group, strength in lora.strengths.items():
        yield f"strength at {group}: {strength:.2%}"
    if lora.note:
        yield lora.note


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
