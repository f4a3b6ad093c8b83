"""The model doctor: what a file is, whether all of it is there and sound, and what its network predicts.

`examine` makes a `Report`, `ledger` the shapes on the way through a model; both are frozen records of plain
values, which `render` and `render_ledger` write as text.
"""

from .ledger import Row, ledger, totals
from .records import FAULTS, Fault, Kind, LoraSummary, PartReport, Report
from .report import examine, label_of, told
from .text import render, render_ledger

__all__ = [
    "FAULTS",
    "Fault",
    "Kind",
    "LoraSummary",
    "PartReport",
    "Report",
    "Row",
    "examine",
    "label_of",
    "ledger",
    "render",
    "render_ledger",
    "told",
    "totals",
]
